"""Isotropic merging in common and task-specific directions, the step that several methods end with.

Marczak et al., No Task Left Behind, ICML 2025, arXiv:2502.04959, section on Iso-CTS.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...linalg import ROUNDING, numerical_rank, polar


def common_and_specific(deltas: Float[Tensor, "task m n"], common: float) -> Float[Tensor, "m n"]:
    """Directions of the sum and of each update's rest, orthogonal, all of one singular value.

    Of the directions that the sum has, a share is taken from it; the others are divided among the
    updates, and taken from what of them the first leave. Singular values become their mean.

    Args:
        deltas: The updates.
        common: Share of directions that comes from the sum.
    """
    U, S, Vh = torch.linalg.svd(deltas.sum(0), full_matrices=False)
    total, T = numerical_rank(S), len(deltas)
    own = min(round((total - int(total * common)) / T), total // T)
    c = total - own * T
    parts = [(U[:, :c], S[:c], Vh[:c].T)]
    for delta in deltas:
        rest = delta - U[:, :c] @ (U[:, :c].T @ delta)
        U_t, S_t, Vh_t = torch.linalg.svd(rest, full_matrices=False)
        # What the common directions left may be rounding altogether.
        k = min(own, int((S_t > ROUNDING * delta.norm()).sum()))
        parts.append((U_t[:, :k], S_t[:k], Vh_t[:k].T))
    left, sizes, right = (torch.cat(part, dim=-1) for part in zip(*parts, strict=True))
    size = sizes.sum() / max(len(sizes), 1)
    merged: Tensor = size * polar(left) @ polar(right).T
    return merged
