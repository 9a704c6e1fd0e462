r"""Sign conflict: the share of the weight mass that disagrees with the majority sign.

    opposed   Σ (Σ_t |x_t| - |Σ_t x_t|) / 2 Σ Σ_t |x_t|

over the sampled entries x of the updates: the mass that TIES (arXiv:2306.01708) would drop without
its trimming. 0 where all signs agree, 1/2 where the updates cancel. The chance level is that of the
same magnitudes with independent random signs, of which one draw is taken; it depends on the
module's name alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..factors import Stack
from .core_updates import share


@dataclass(frozen=True)
class Signs:
    """Sign conflict of all adapters in one module.

    Attributes:
        module: The module.
        opposed: Share of the mass that disagrees with the majority sign, None without mass.
        chance: The same for random signs.
        weight: Sum of the sampled magnitudes.
    """

    module: str
    opposed: float | None
    chance: float | None
    weight: float


def measure_signs(stack: Stack, entries: Float[Tensor, "task m n"]) -> Signs:
    """Measure a module; `entries` are those of `values.sample_entries`."""
    positive = torch.rand(entries.shape, generator=stack.generator(0, "diagnose", "signs")) < 0.5
    mass = float(entries.abs().sum())
    chance = _opposed(entries.abs() * torch.where(positive, 1.0, -1.0))
    return Signs(stack.module, _opposed(entries), chance, mass)


def _opposed(entries: Float[Tensor, "task m n"]) -> float | None:
    mass = float(entries.abs().sum())
    return share((mass - float(entries.sum(0).abs().sum())) / 2, mass)
