"""Isotropic merging in common and task-specific directions, the step that several methods end with.

Marczak et al., No Task Left Behind, ICML 2025, arXiv:2502.04959, section on Iso-CTS.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...linalg import numerical_rank, polar
from ._cut import at_most

Parts = tuple[Float[Tensor, "m k"], Float[Tensor, " k"], Float[Tensor, "n k"]]


def common_and_specific(
    deltas: Float[Tensor, "task m n"], common: float, *, every: bool = False
) -> Float[Tensor, "m n"]:
    """Directions of the sum and of each update's rest, orthogonal, all of one singular value.

    Of all directions a share is taken from the sum; the others are divided among the updates, and
    taken from what of them the first leave. Singular values become their mean.

    Args:
        deltas: The updates.
        common: Share of directions that comes from the sum.
        every: Count min(m, n) directions rather than those that are more than rounding.
    """
    T, k = len(deltas), min(deltas[0].shape) if every else _rank(deltas)
    s = min(round((k - at_most(common, k)) / T), k // T)
    # What is left where updates cancel out, or lie in the common space, is rounding of them.
    sizes = [None] * T if every else torch.linalg.matrix_norm(deltas, 2).tolist()
    shared = _leading(deltas.sum(0), k - T * s, None if every else max(sizes))
    outside = deltas - shared[0] @ (shared[0].T @ deltas)
    own = [_leading(rest, s, of) for rest, of in zip(outside, sizes, strict=True)]
    # [m, k], [k], [n, k]: common directions first, then each update's own
    U, S, V = (torch.cat(part, dim=-1) for part in zip(shared, *own, strict=True))
    return polar(U) @ polar(V).T * (S.sum() / max(len(S), 1))


def _leading(delta: Float[Tensor, "m n"], most: int, of: float | None) -> Parts:
    """Return the leading directions, rounding of an update of size `of` left out."""
    U, S, Vh = torch.linalg.svd(delta, full_matrices=False)
    if of is not None:
        most = min(most, max(numerical_rank(torch.cat([S.new_tensor([of]), S])) - 1, 0))
    return U[:, :most], S[:most], Vh[:most].T


def _rank(deltas: Float[Tensor, "task m n"]) -> int:
    wide, tall = torch.cat([*deltas], dim=1), torch.cat([*deltas], dim=0)
    return min(numerical_rank(torch.linalg.svdvals(x)) for x in (wide, tall))
