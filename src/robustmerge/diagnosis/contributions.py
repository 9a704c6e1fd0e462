r"""The plain sum of the updates, Σ = Σ_t Δ_t, before any method: sizes, and who is heard in it.

Of a module, over the adapters whose update is not zero:

    norm ratio       largest over smallest ‖Δ_t‖
    norm variation   standard deviation over mean of ‖Δ_t‖
    coherence        ‖Σ‖² / Σ_t ‖Δ_t‖²: 1 where the updates are orthogonal, T where they are equal,
                     less than 1 where they cancel
    effective rank   of Σ, as in `spectrum`
    at input rank    share of ‖Σ‖² that the best approximation of the adapters' own rank keeps
    rank for 90 %    least rank that keeps this share of ‖Σ‖²; likewise for 99 %

Of an adapter in it:

    in sum      ⟨Σ, Δ_t⟩ / ‖Δ_t‖²: 1 where the others are orthogonal to it
    cut         ‖U_r U_r^T Δ_t V_r V_r^T‖² / ‖Δ_t‖², U_r and V_r the directions of Σ that a cut to
                the adapters' own rank leaves: how much of the adapter could survive the cut
    crosstalk   ‖Σ_{s ≠ t} Δ_s P_t‖² / ‖Δ_t‖², P_t the projector on its input space: what the others
                answer to the inputs it listens to. (T - 1) r / d_in by chance at equal norms, T - 1
                where all share one A.

Crosstalk is the interference that WUDI (arXiv:2503.08099) minimizes, without its weights; coherence
is what norm matching (Pico, arXiv:2604.16826) makes up for. The other definitions are ours. The
adapters' own rank is the largest that is not rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ..factors import Factors
from .core_updates import CoreSpace, CoreUpdate, share, summed


@dataclass(frozen=True)
class UpdateSum:
    """The sum of one module's updates.

    Attributes:
        module: The module.
        adapters: How many of the updates are not zero.
        norm_ratio: Largest norm over smallest.
        norm_variation: Standard deviation of the norms over their mean.
        coherence: Energy of the sum over the sum of energies.
        effective_rank: Of the sum.
        at_input_rank: Share of the sum's energy at the adapters' own rank.
        rank_90: Least rank that keeps 90 % of its energy.
        rank_99: Least rank that keeps 99 %.
        weight: Energy of the sum.
    """

    module: str
    adapters: int
    norm_ratio: float | None
    norm_variation: float | None
    coherence: float | None
    effective_rank: float
    at_input_rank: float | None
    rank_90: int
    rank_99: int
    weight: float


@dataclass(frozen=True)
class Contribution:
    """One adapter in the sum of one module's updates.

    Attributes:
        module: The module.
        adapter: The adapter.
        in_sum: Coefficient of its own update in the sum.
        cut: Share of its energy within the directions that a cut leaves.
        crosstalk: Energy of the others' answers to its inputs, over its own energy.
        weight: Energy of its update.
    """

    module: str
    adapter: str
    in_sum: float | None
    cut: float | None
    crosstalk: float | None
    weight: float


def total(
    module: str, names: tuple[str, ...], space: CoreSpace
) -> Iterator[UpdateSum | Contribution]:
    """Look at the sum, and at every adapter in it."""
    whole = summed([task.delta for task in space.tasks])
    found = CoreUpdate(_factors(whole))
    rank = max(task.rank for task in space.tasks)
    yield _of_module(module, space, found, rank)
    U, V = found.svd.U[:, :rank], found.svd.Vh[:rank].T
    for name, task in zip(names, space.tasks, strict=True):
        inputs = task.svd.Vh.T
        yield Contribution(
            module,
            name,
            in_sum=share(float((whole * task.delta).sum()), task.energy),
            cut=share(float((U.T @ task.delta @ V).square().sum()), task.energy),
            crosstalk=share(float(((whole - task.delta) @ inputs).square().sum()), task.energy),
            weight=task.energy,
        )


def _of_module(module: str, space: CoreSpace, found: CoreUpdate, rank: int) -> UpdateSum:
    norms = torch.tensor([task.energy for task in space.tasks if task.rank]).double().sqrt()
    there = len(norms) > 0
    S = found.svd.S.square()
    p = found.svd.S / found.svd.S.sum()
    return UpdateSum(
        module,
        adapters=len(norms),
        norm_ratio=float(norms.max() / norms.min()) if there else None,
        norm_variation=float(norms.std(correction=0) / norms.mean()) if there else None,
        coherence=share(found.energy, float(norms.square().sum())),
        effective_rank=float((-(p * p.log()).sum()).exp()) if found.rank else 0.0,
        at_input_rank=share(float(S[:rank].sum()), found.energy),
        rank_90=_rank_for(S, 0.90),
        rank_99=_rank_for(S, 0.99),
        weight=found.energy,
    )


def _factors(M: torch.Tensor) -> Factors:
    return Factors(M, torch.eye(len(M), dtype=M.dtype))


def _rank_for(energies: torch.Tensor, part: float) -> int:
    if len(energies) == 0:
        return 0
    # Rounding in the sum must not ask for one direction more than there are.
    kept = energies.cumsum(0) / energies.sum()
    return int((kept < part * (1 - 1e-12)).sum()) + 1
