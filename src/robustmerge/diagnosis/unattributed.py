r"""Whose a merged update is: its energy ‖Δ‖² in four parts, each outside of those before it.

    tasks       in the span of the updates, Σ_t c_t Δ_t, by least squares
    recombined  in the tasks' own blocks, Σ_t U_t X_t V_t^T: directions of one adapter that meet in
                another way than in its update, as where singular values are rescaled
    cross       in the joint output and input spaces, but in no task's block: outputs of one adapter
                that answer to inputs of another, B_s A_t with s ≠ t
    outside     in no adapter's output or input space, as where entries were pruned away

U_t and V_t are bases of an adapter's output and input space. The four spaces contain each other, so
the parts are orthogonal and add up to 1. What is not `tasks` is what no combination of the adapters
explains. Where adapters share their input space B_s A_t is a recombination and not cross: it
answers to inputs that s knows, too. The definitions are ours; RobustMerge's code makes such terms
on purpose or not (see `apart`).

The projection on all blocks at once is found by conjugate gradients, until another step would move
less than 1e-6 of the energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .core_updates import CoreSpace, CoreUpdate, share

_STEPS = 500
_ENOUGH = 1e-6


@dataclass(frozen=True)
class Unattributed:
    """The parts of a merged update of one module; shares of its energy, None where it is zero.

    Attributes:
        module: The module.
        merged: The merge.
        tasks: Share that combinations of the updates explain.
        recombined: Share in single adapters' directions beyond that.
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


def noise(
    module: str, merge: str, space: CoreSpace, tasks: Sequence[CoreUpdate], merged: CoreUpdate
) -> Unattributed:
    """Split a merged update; `tasks` and `merged` are in the coordinates of `space.with_merged`."""
    M = merged.delta
    P, Q = space.outputs, space.inputs
    there = [task for task in tasks if task.rank]
    whole = merged.energy
    joint = float((P.T @ M[: len(P), : len(Q)] @ Q).square().sum())
    explained = min(_explained(there, M), joint)  # rounding must not make a part negative
    blocks = min(max(_in_blocks(there, M), explained), joint)
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
    """Energy of the nearest combination of the updates."""
    if not tasks:
        return 0.0
    # Of one length, or a small update would be taken for rounding beside a large one.
    X = torch.stack([task.delta.flatten() / task.delta.norm() for task in tasks], dim=1)
    Q, S, _ = torch.linalg.svd(X, full_matrices=False)
    return float((Q[:, S[0] * 1e-7 < S].T @ M.flatten()).square().sum())


def _in_blocks(tasks: Sequence[CoreUpdate], M: Float[Tensor, "p q"]) -> float:
    """Energy of the projection of M on the sum of the tasks' blocks.

    The blocks X_t that come nearest to M solve a least squares problem, and this is CGLS for it: g
    is what is left of M as each block sees it.
    """
    bases = [(task.svd.U, task.svd.Vh) for task in tasks]
    left = M.clone()
    g = [U.T @ left @ Vh.T for U, Vh in bases]
    direction, size = g, _energy(g)
    for _ in range(_STEPS):
        step = sum((U @ X @ Vh for (U, Vh), X in zip(bases, direction, strict=True)), M * 0)
        length = float(step.square().sum())
        if length == 0:
            break
        by = size / length
        left = left - by * step
        if by * size < _ENOUGH * float(M.square().sum()):
            break
        g = [U.T @ left @ Vh.T for U, Vh in bases]
        size, before = _energy(g), size
        direction = [new + size / before * old for new, old in zip(g, direction, strict=True)]
    return float(M.square().sum() - left.square().sum())


def _energy(blocks: Sequence[Tensor]) -> float:
    return float(sum(x.square().sum() for x in blocks))
