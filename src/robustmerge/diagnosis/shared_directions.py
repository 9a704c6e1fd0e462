r"""Directions that several adapters use, on either side of a module.

With P_t the projector on the input (or output) space of adapter t, N = Σ_t P_t counts the adapters
that use a direction: its eigenvalues ν are between 0 and T.

    largest   ν_1 / T: 1 where all adapters share a direction, 1/T where no two of them do
    shared    number of ν above the largest of unrelated spaces
    chance    1 + (T - 2) α + 2 √((T - 1) α (1 - α)), α the mean rank / d: the edge of the spectrum
              of a sum of T random projectors in high dimensions (Kesten 1959; free probability)
    energy    mean over the adapters of the share of ‖Δ_t‖² in the shared directions

That adapters share few output directions is the observation of Pico (arXiv:2604.16826), who weight
the projectors by energy; the count and its chance level are ours. An adapter whose update is zero
uses no direction and does not count in T. With fewer than two adapters no direction is shared.
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
"""How far above the edge counts as beyond chance: in finite dimensions the edge is not sharp, and
the largest ν of random spaces of 256 to 1024 dimensions is within 4 % of it (in the tests)."""
_PRESENT = 1e-9
"""Least ν of a direction that counts as used. Equal spaces differ by rounding error only: at most
1e-16 / 1e-7 = 1e-9 in a singular vector (float64 over `linalg.ROUNDING`), so 1e-18 in ν."""


@dataclass(frozen=True)
class SharedDirections:
    """Directions that several adapters share, on one side of one module.

    Attributes:
        module: The module.
        side: input or output.
        directions: Number of directions that all adapters use together.
        largest: Share of the adapters that use the most shared direction.
        chance: The same share for unrelated spaces.
        shared: Number of directions that more adapters use than chance explains.
        energy: Share of an adapter's energy in shared directions, averaged over the adapters.
    """

    module: str
    side: Side
    directions: int
    largest: float | None
    chance: float | None
    shared: int
    energy: float | None


def measure_shared_directions(module: str, space: CoreSpace) -> Iterator[SharedDirections]:
    """Count shared directions on both sides of a module."""
    d_out, d_in = space.shape
    nonzero = [task.svd for task in space.tasks if task.rank]
    yield _measure_side(module, "input", d_in, [(s.Vh.T, s.S) for s in nonzero])
    yield _measure_side(module, "output", d_out, [(s.U, s.S) for s in nonzero])


def chance_edge(ranks: list[int], d: int) -> float:
    """Return the most adapters that share a direction by chance."""
    T, alpha = len(ranks), sum(ranks) / len(ranks) / d
    largest = 1 + (T - 2) * alpha + 2 * math.sqrt((T - 1) * alpha * (1 - alpha))
    # From α = 1 - 1/T on the formula does not hold: some direction is in all spaces.
    return float(T) if alpha >= 1 - 1 / T else min(largest, float(T))


def _measure_side(
    module: str, side: Side, d: int, spaces: list[tuple[Tensor, Tensor]]
) -> SharedDirections:
    """Measure one side, from every adapter's basis [p, k] of it and its singular values [k]."""
    if not spaces:
        return SharedDirections(module, side, 0, None, None, 0, None)
    count = len(spaces)
    bases = torch.cat([X for X, _ in spaces], dim=1)  # [p, Σ_t k_t]
    X, S, _ = torch.linalg.svd(bases, full_matrices=False)
    nu = S.square()  # eigenvalues of N = bases bases^T
    directions = int((nu > _PRESENT).sum())
    if count == 1:
        return SharedDirections(module, side, directions, None, None, 0, None)
    chance = chance_edge([X.shape[1] for X, _ in spaces], d)
    shared = X[:, nu > _ABOVE * chance]  # [p, shared]
    energies = [((shared.T @ X) * S).square().sum() / S.square().sum() for X, S in spaces]
    return SharedDirections(
        module,
        side,
        directions,
        largest=float(nu[0]) / count,
        chance=chance / count,
        shared=shared.shape[1],
        energy=float(torch.stack(energies).mean()),
    )
