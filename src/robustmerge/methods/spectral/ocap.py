r"""OCAP: even singular values, capped norms, then common and specific directions half and half.

    U_t S_t V_t^T = w_t Δ_t,    Δ'_t = mean(S_t) U_t V_t^T
    Δ'_t ← Δ'_t min(1, bound / |Δ'_t|)       bound = median + width MAD of the norms
    Δ = Iso-CTS(Δ'_1, ..., Δ'_T)

Each adapter's singular values become their mean, so that no direction of it dominates; then norms
far above the others' are lowered to a bound. Iso-CTS takes half of the directions of the sum
(`common`), fills up with what the adapters have outside of them, makes all orthogonal, and gives
them one singular value: the mean of all that were taken.

MAD is the median distance from the median; with an even number of norms, medians are the mean of
the two in the middle. Two adapters are never capped. Updates that are zero count in neither, nor as
an adapter that directions are shared out to.

As in `tsv-m` every adapter brings as many directions as it has, where code for full fine-tuning
takes those of the full matrix, which for a LoRA are rounding. Common and specific directions
together are as many as the updates have, and are divided as in `iso-cts`. Flat spectra
of a low-rank merge have done badly on multimodal LLMs (`iso-c` far below a plain sum), and in what
is flat a cut to a lower rank finds nothing to choose by: give the result all the rank it has.

Cost: O((d_out + d_in) R^2) for the sum of ranks R.

Source: the OCAP study's code, 2026; Iso-CTS: Marczak et al., ICML 2025, arXiv:2502.04959.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from ...linalg import compact_svd, core
from .._registry import method
from ._common_specific import common_and_specific


@method(
    "ocap",
    paper="OCAP (2026, code), with Iso-CTS: Marczak et al., ICML 2025, arXiv:2502.04959",
    gauge_invariant=True,
    checked="the worked example of Iso-CTS; the dense definition",
)
def ocap(
    stack: Stack,
    *,
    common: Annotated[float, Interval(ge=0, le=1)] = 0.5,
    width: Annotated[float, Interval(ge=0)] = 3.0,
) -> Update:
    """Merge flattened, capped updates in common and specific directions.

    Args:
        stack: The module's updates.
        common: Share of directions that comes from the sum.
        width: Distance of the cap from the median norm, in MADs.
    """
    space = core(stack)
    flat = torch.stack([flatten_spectrum(M) for M in space.weighted])  # [task, p, q]
    norms = flat.flatten(1).norm(dim=1)
    flat, norms = flat[norms > 0], norms[norms > 0]
    if len(flat) == 0:
        return space.lift(torch.zeros_like(space.M[0]))
    capped = flat * (norm_cap(norms, width) / norms).clamp_max(1)[:, None, None]
    return space.lift(common_and_specific(capped, common))


def flatten_spectrum(M: Float[Tensor, "p q"]) -> Float[Tensor, "p q"]:
    """Return all singular values made equal to their mean."""
    U, S, Vh = compact_svd(M)
    return U @ Vh * (S.sum() / max(len(S), 1))


def norm_cap(norms: Float[Tensor, " task"], width: float) -> Float[Tensor, ""]:
    """Return the median of positive numbers and `width` times the median distance from it."""
    median = norms.quantile(0.5)
    return median + width * (norms - median).abs().quantile(0.5)
