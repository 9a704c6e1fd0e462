r"""Directions that several adapters use, on either side of a module.

With P_t the projector on the input (or output) space of adapter t, N = Σ_t P_t counts for every
direction how many adapters use it: its eigenvalues ν lie between 0 and T.

    largest   ν_1 / T, 1 where all adapters share a direction, 1/T where no two of them do
    shared    how many ν are above what unrelated spaces reach
    chance    1 + (T - 2) α + 2 √((T - 1) α (1 - α)), α the mean rank / d: the edge of the spectrum
              of a sum of T random projectors in high dimensions (Kesten 1959; free probability)
    energy    mean over the adapters of the share of ‖Δ_t‖² in the shared directions

That adapters crowd few output directions is the observation of Pico (arXiv:2604.16826), who weigh
the projectors by energy; the count and its edge by chance are ours. An adapter whose update is zero
uses no direction and does not count in T; with fewer than two there is nothing to share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .core_updates import CoreSpace

Side = Literal["input", "output"]
_ABOVE = 1.05
"""How far above the edge counts as beyond chance: in finite dimensions it is not sharp."""


@dataclass(frozen=True)
class SharedDirections:
    """How crowded one side of one module is.

    Attributes:
        module: The module.
        side: input or output.
        directions: How many directions all adapters use together.
        largest: Share of the adapters that use the most crowded one.
        chance: What that would be for unrelated spaces.
        shared: How many directions more adapters use than chance explains.
        energy: Share of the adapters' energy in those, each adapter counting the same.
    """

    module: str
    side: Side
    directions: int
    largest: float | None
    chance: float | None
    shared: int
    energy: float | None


def crowding(module: str, space: CoreSpace) -> Iterator[SharedDirections]:
    """Both sides of a module."""
    d_out, d_in = space.shape
    there = [task.svd for task in space.tasks if task.rank]
    yield _of_side(module, "input", d_in, [(s.Vh.T, s.S) for s in there])
    yield _of_side(module, "output", d_out, [(s.U, s.S) for s in there])


def edge(ranks: list[int], d: int) -> float:
    """The most adapters that a direction has by chance."""
    T, alpha = len(ranks), sum(ranks) / len(ranks) / d
    reached = 1 + (T - 2) * alpha + 2 * math.sqrt((T - 1) * alpha * (1 - alpha))
    # Spaces of more than d dimensions in all must meet, and beyond α = 1 - 1/T everywhere.
    return float(T) if alpha >= 1 - 1 / T else min(reached, float(T))


def _of_side(
    module: str, side: Side, d: int, spaces: list[tuple[Tensor, Tensor]]
) -> SharedDirections:
    """One side, from every adapter's basis [p, k] of it and its singular values [k]."""
    if not spaces:
        return SharedDirections(module, side, 0, None, None, 0, None)
    count = len(spaces)
    X, nu, _ = torch.linalg.svd(torch.cat([X for X, _ in spaces], dim=1), full_matrices=False)
    nu = nu.square()
    directions = int((nu > 1e-9).sum())
    if count == 1:
        return SharedDirections(module, side, directions, None, None, 0, None)
    chance = edge([X.shape[1] for X, _ in spaces], d)
    crowded = X[:, nu > _ABOVE * chance]
    held = [((crowded.T @ X) * S).square().sum() / S.square().sum() for X, S in spaces]
    return SharedDirections(
        module,
        side,
        directions,
        largest=float(nu[0]) / count,
        chance=chance / count,
        shared=crowded.shape[1],
        energy=float(torch.stack(held).mean()),
    )
