r"""The energy ‖Δ‖² of a merged update in four parts, from attributed to unattributed.

    tasks       in the span of the updates, Σ_t c_t Δ_t, by least squares
    recombined  in the adapters' own blocks, Σ_t U_t X_t V_t^T: directions of one adapter, combined
                in another way than in its update, such as by rescaling singular values
    cross       in the joint output and input spaces, but in no adapter's block: outputs of one
                adapter on inputs of another, B_s A_t with s ≠ t
    outside     in no adapter's output or input space, such as after pruning of entries

U_t and V_t are bases of an adapter's output and input space. Each space contains the one before it,
so the parts are orthogonal and their shares add up to 1. No combination of the adapters explains
more than `tasks`. Where adapters share their input space, B_s A_t is a recombination and no cross
term, since its inputs are inputs of s, too. The definitions are ours; factor-wise merging, as in
RobustMerge's code, produces cross terms (see `cross_terms`).

The projection on all blocks at once is computed by conjugate gradients, until another step would
move less than 1e-6 of the energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..linalg import ROUNDING
from .core_updates import CoreSpace, CoreUpdate, share

_STEPS = 500
"""Most steps of conjugate gradients; tens are usual."""
_ENOUGH = 1e-6
"""Share of the energy below which a step ends the iteration: figures have six digits in JSON."""


@dataclass(frozen=True)
class Unattributed:
    """Shares of one module's merged energy, from attributed to unattributed; None if it is zero.

    Attributes:
        module: The module.
        merged: The merge.
        tasks: Share explained by combinations of the adapters' updates.
        recombined: Further share in the directions of single adapters.
        cross: Share that pairs one adapter's outputs with another's inputs.
        outside: Share outside of all adapters' directions.
        weight: Energy of the merged update.
    """

    module: str
    merged: str
    tasks: float | None
    recombined: float | None
    cross: float | None
    outside: float | None
    weight: float


def split_energy(
    module: str, merge: str, space: CoreSpace, tasks: Sequence[CoreUpdate], merged: CoreUpdate
) -> Unattributed:
    """Split a merged update's energy; `tasks` and `merged` are from `space.with_merged`."""
    M = merged.delta  # [p, q], of which the adapters use the first coordinates
    P, Q = space.outputs, space.inputs
    nonzero = [task for task in tasks if task.rank]
    whole = merged.energy
    joint = float((P.T @ M[: len(P), : len(Q)] @ Q).square().sum())
    explained = min(_explained(nonzero, M), joint)  # rounding must not make a part negative
    blocks = min(max(_in_blocks(nonzero, M), explained), joint)
    return Unattributed(
        module,
        merge,
        tasks=share(explained, whole),
        recombined=share(blocks - explained, whole),
        cross=share(joint - blocks, whole),
        outside=share(max(whole - joint, 0.0), whole),
        weight=whole,
    )


def _explained(tasks: Sequence[CoreUpdate], M: Float[Tensor, "p q"]) -> float:
    """Return the energy of the nearest combination of the updates."""
    if not tasks:
        return 0.0
    # At norm 1, or a small update would count as rounding error of a large one.  [p·q, tasks]
    X = torch.stack([task.delta.flatten() / task.delta.norm() for task in tasks], dim=1)
    Q, S, _ = torch.linalg.svd(X, full_matrices=False)
    return float((Q[:, S[0] * ROUNDING < S].T @ M.flatten()).square().sum())


def _in_blocks(tasks: Sequence[CoreUpdate], M: Float[Tensor, "p q"]) -> float:
    """Return the energy of the projection of M on the sum of the adapters' blocks.

    The blocks X_t that come nearest to M solve a least squares problem. This is CGLS for it, with g
    the residual in each block's coordinates.
    """
    bases = [(task.svd.U, task.svd.Vh) for task in tasks]
    residual = M.clone()
    g = [U.T @ residual @ Vh.T for U, Vh in bases]  # [r_t, r_t] each
    direction, size = g, _energy(g)
    for _ in range(_STEPS):
        step = sum((U @ X @ Vh for (U, Vh), X in zip(bases, direction, strict=True)), M * 0)
        length = float(step.square().sum())
        if length == 0:
            break
        by = size / length
        residual = residual - by * step
        if by * size < _ENOUGH * float(M.square().sum()):
            break
        g = [U.T @ residual @ Vh.T for U, Vh in bases]
        size, before = _energy(g), size
        direction = [new + size / before * old for new, old in zip(g, direction, strict=True)]
    return float(M.square().sum() - residual.square().sum())


def _energy(blocks: Sequence[Tensor]) -> float:
    return float(sum(x.square().sum() for x in blocks))
