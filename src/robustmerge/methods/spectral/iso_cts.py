r"""Iso-CTS: directions that adapters share and directions of their own, all equally strong.

    U_c S_c V_c^T = Σ_t w_t Δ_t                the c leading directions: common
    U_t S_t V_t^T = (I - U_c U_c^T) w_t Δ_t    the s leading directions of each: specific
    U = [U_c U_1 ... U_T],  V = [V_c V_1 ... V_T]
    Δ = mean(S_c, S_1, ..., S_T) · polar(U) polar(V)^T

The weakest directions of the sum, which no single task uses, give way to what each adapter has
outside of the common ones; polar makes all of them orthogonal (`tsv-m`), and the spectrum is flat
as in `iso-c`.

How many there are: c + T s = k, with s = (k - floor(common · k)) / T rounded to the nearest number,
as in the authors' code. There k is min(d_out, d_in). Low-rank updates have fewer directions, and
the others are rounding, so k is the rank of all w_t Δ_t side by side or one below the other,
whichever is less (flavor rank), singular values above 1e-7 of the largest being counted; an adapter
that has fewer than s directions outside of the common ones brings those it has. With T adapters of
rank r and nothing shared, 0.2 r of each are specific. Where k is small, s is 0 and this is Iso-C on
the c directions. Flavor paper is the published one, on full deltas.

What `iso-c` says about weak directions and about cutting the rank holds here, too.

Cost: O((d_out + d_in) R^2) for the sum of ranks R; with flavor paper T + 1 decompositions of full
deltas and two of d x k.

Source: Marczak et al., No Task Left Behind, ICML 2025, arXiv:2502.04959.
"""

from __future__ import annotations

from typing import Literal

from ...factors import Dense, Stack, Update
from ...linalg import core
from .._registry import When, method
from ._common_specific import common_and_specific
from ._cut import Share


@method(
    "iso-cts",
    paper="Marczak et al., ICML 2025, arXiv:2502.04959",
    checked="the worked example; the dense definition",
    gauge_invariant=When("flavor", "rank"),
    order_invariant=When("flavor", "rank"),
    stable=When("flavor", "rank"),
    cautions={
        When("flavor", "paper"): "it reaches past the adapters' ranks, into directions that are "
        "rounding, and makes them as strong as the others; the result is arbitrary there"
    },
)
def iso_cts(
    stack: Stack, *, common: Share = 0.8, flavor: Literal["rank", "paper"] = "rank"
) -> Update:
    """Flatten the spectrum of common and specific directions.

    Args:
        stack: The module's updates.
        common: Share of the directions that are common.
        flavor: As many directions as the updates have, or min(d_out, d_in) as published.
    """
    if flavor == "paper":
        return Dense(common_and_specific(stack.dense(), common, every=True))
    space = core(stack)
    return space.lift(common_and_specific(space.weighted, common))
