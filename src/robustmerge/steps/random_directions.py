r"""Random directions: a control whose updates have the right sizes and mean nothing.

    U_t S_t V_t^T = Δ_t                      singular value decomposition
    Δ_t ← Ũ_t S_t Ṽ_t^T                      Ũ_t, Ṽ_t: orthonormal columns, drawn at random

Every update keeps its norm and its singular values in every module, and loses what was learned. A
merge of these shows what of a score is owed to size alone: a method that is not clearly above it
has merged nothing. The result is of no use otherwise; it belongs next to base and mean in a
comparison. Fully trained parameters (`--extras`) are not touched.

Directions are drawn for each module and position in the list, the same in every run. Adapters that
had directions in common have none afterwards.

Cost: O((d_out + d_in) r^2) per adapter of rank r.

Source: own; that random adapters of a public collection did about as well as chosen ones is
reported in arXiv:2602.12323.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ..factors import Factors, Stack
from ..linalg import svd
from ._registry import step


@step(
    "random-directions",
    stage="balance",
    paper="own, a control",
    checked="singular values and overlaps of the result",
)
def random_directions(stack: Stack, *, seed: Annotated[int, Interval(ge=0)] = 0) -> Stack:
    """Replace the updates' directions by random ones.

    Args:
        stack: The module's updates.
        seed: Other directions for every number.
    """
    turned = tuple(
        _turn(f, stack.generator(seed, "directions", t)) for t, f in enumerate(stack.factors)
    )
    return replace(stack, factors=turned)


def _turn(f: Factors, random: torch.Generator) -> Factors:
    S = svd(f).S
    outputs, inputs = (_directions(d, len(S), random).to(S.device) for d in f.shape)
    turned = Factors((S.sqrt() * inputs).T.to(f.A.dtype), (S.sqrt() * outputs).to(f.B.dtype))
    return turned.pad(f.rank)


def _directions(d: int, k: int, random: torch.Generator) -> Float[Tensor, "d k"]:
    """Draw k orthonormal columns."""
    drawn = torch.randn(k, d, generator=random, dtype=torch.float64).T
    columns: Tensor = torch.linalg.qr(drawn).Q
    return columns
