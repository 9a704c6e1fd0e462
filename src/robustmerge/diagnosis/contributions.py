r"""The plain sum of the updates, Σ = Σ_t Δ_t, and the contribution of each adapter to it.

Per module, over the adapters whose update is not zero:

    norm ratio       largest over smallest ‖Δ_t‖
    norm variation   standard deviation over mean of ‖Δ_t‖
    coherence        ‖Σ‖² / Σ_t ‖Δ_t‖²: 1 where the updates are orthogonal, T where they are equal,
                     less than 1 where they cancel
    effective rank   of Σ, as in `spectrum`
    at input rank    share of ‖Σ‖² that the best approximation of the adapters' rank keeps
    rank for 90 %    smallest rank that keeps this share of ‖Σ‖²; likewise for 99 %

Per adapter:

    in sum      ⟨Σ, Δ_t⟩ / ‖Δ_t‖²: 1 where the others are orthogonal to it
    cut         ‖U_r U_r^T Δ_t V_r V_r^T‖² / ‖Δ_t‖², U_r and V_r the directions of Σ that truncation
                to the adapters' rank keeps: the share of the adapter that can survive truncation
    crosstalk   ‖Σ_{s ≠ t} Δ_s P_t‖² / ‖Δ_t‖², P_t the projector on its input space: the output of
                the other adapters on its inputs. (T - 1) r / d_in by chance at equal norms, T - 1
                where all share one A.

Crosstalk is the interference that WUDI (arXiv:2503.08099) minimizes, without its weights; coherence
is what norm matching (Pico, arXiv:2604.16826) compensates. The other definitions are ours. The
adapters' rank is the largest of their ranks, without directions that are rounding error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ..factors import Factors
from .core_updates import CoreSpace, CoreUpdate, add, share


@dataclass(frozen=True)
class UpdateSum:
    """The sum of one module's updates.

    Attributes:
        module: The module.
        adapters: Number of adapters whose update is not zero.
        norm_ratio: Largest norm over smallest norm.
        norm_variation: Standard deviation of the norms over their mean.
        coherence: Energy of the sum over the sum of the adapters' energies.
        effective_rank: Effective rank of the sum.
        at_input_rank: Share of the sum's energy that the adapters' rank keeps.
        rank_90: Smallest rank that keeps 90 % of the sum's energy.
        rank_99: Smallest rank that keeps 99 % of the sum's energy.
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
    """One adapter's contribution to the sum of one module's updates.

    Attributes:
        module: The module.
        adapter: The adapter.
        in_sum: Coefficient of its update in the sum.
        cut: Share of its energy that can survive truncation of the sum to the adapters' rank.
        crosstalk: Energy of the other adapters' outputs on its inputs, over its own energy.
        weight: Energy of its update.
    """

    module: str
    adapter: str
    in_sum: float | None
    cut: float | None
    crosstalk: float | None
    weight: float


def measure_sum(
    module: str, names: tuple[str, ...], space: CoreSpace
) -> Iterator[UpdateSum | Contribution]:
    """Measure the sum of the updates, and the contribution of each adapter."""
    whole = add([task.delta for task in space.tasks])
    update = CoreUpdate(_factors(whole))
    rank = max(task.rank for task in space.tasks)
    yield _sum(module, space, update, rank)
    U, V = update.svd.U[:, :rank], update.svd.Vh[:rank].T  # [p, rank], [q, rank]
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


def _sum(module: str, space: CoreSpace, update: CoreUpdate, rank: int) -> UpdateSum:
    norms = torch.tensor([task.energy for task in space.tasks if task.rank]).double().sqrt()
    some = len(norms) > 0
    energies = update.svd.S.square()
    p = update.svd.S / update.svd.S.sum()
    return UpdateSum(
        module,
        adapters=len(norms),
        norm_ratio=float(norms.max() / norms.min()) if some else None,
        norm_variation=float(norms.std(correction=0) / norms.mean()) if some else None,
        coherence=share(update.energy, float(norms.square().sum())),
        effective_rank=float((-(p * p.log()).sum()).exp()) if update.rank else 0.0,
        at_input_rank=share(float(energies[:rank].sum()), update.energy),
        rank_90=_rank_for(energies, 0.90),
        rank_99=_rank_for(energies, 0.99),
        weight=update.energy,
    )


def _factors(M: torch.Tensor) -> Factors:
    """Return a square matrix as factors M · 1."""
    return Factors(M, torch.eye(len(M), dtype=M.dtype))


def _rank_for(energies: torch.Tensor, part: float) -> int:
    """Return the smallest number of directions that have this part of the energy."""
    if len(energies) == 0:
        return 0
    # 1e-12, some rounding steps of float64: the sum of all shares may miss 1 by that much.
    kept = energies.cumsum(0) / energies.sum()
    return int((kept < part * (1 - 1e-12)).sum()) + 1
