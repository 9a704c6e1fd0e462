r"""Singular values σ_1 ≥ … ≥ σ_k of an update, and single numbers that describe them.

    head to tail     σ_1 / σ_k, k the rank without directions that are rounding error
    first share      σ_1² / Σ σ²
    effective rank   exp(-Σ p_i ln p_i), p_i = σ_i / Σ σ           Roy & Vetterli 2007
    stable rank      Σ σ² / σ_1²                                    Rudelson & Vershynin 2007
    norm             √ Σ σ²
    change           norm / ‖W‖, W the base's weight

RobustMerge (arXiv:2502.17159, figures 3 and 8) shows sorted singular values and a large gap between
head and tail, without a formula: head to tail and first share are ours. An update that is zero has
no singular values: its norm and ranks are 0, its ratios undefined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .core_updates import CoreUpdate

Kind = Literal["adapter", "merge"]


@dataclass(frozen=True)
class Spectrum:
    """Singular values of one module's update.

    Attributes:
        module: The module.
        update: Name of the adapter or merge.
        kind: adapter or merge.
        rank: Number of singular values above rounding error.
        norm: Frobenius norm.
        first_share: Share of the energy in the largest direction.
        head_to_tail: Largest singular value over the smallest.
        effective_rank: Exponential of the entropy of the singular values.
        stable_rank: Energy over energy of the largest direction.
        change: Norm over the norm of the base's weight, None without a base.
        weight: Energy of the update.
        values: The singular values.
    """

    module: str
    update: str
    kind: Kind
    rank: int
    norm: float
    first_share: float | None
    head_to_tail: float | None
    effective_rank: float
    stable_rank: float
    change: float | None
    weight: float
    values: tuple[float, ...]


def measure_spectrum(
    module: str, name: str, kind: Kind, update: CoreUpdate, base: float | None = None
) -> Spectrum:
    """Measure an update; `base` is the norm of the base's weight."""
    S, norm = update.svd.S, update.energy**0.5
    p = S / S.sum()
    some = update.rank > 0
    return Spectrum(
        module,
        name,
        kind,
        update.rank,
        norm,
        first_share=float(S[0] ** 2) / update.energy if some else None,
        head_to_tail=float(S[0] / S[-1]) if some else None,
        effective_rank=float((-(p * p.log()).sum()).exp()) if some else 0.0,
        stable_rank=update.energy / float(S[0] ** 2) if some else 0.0,
        change=norm / base if base else None,
        weight=update.energy,
        values=tuple(S.tolist()),
    )
