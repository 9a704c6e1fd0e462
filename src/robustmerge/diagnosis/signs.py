r"""How much of the updates' mass is against the sign they elect together.

    opposed   Σ (Σ_t |x_t| - |Σ_t x_t|) / 2 Σ Σ_t |x_t|

over the sampled entries x of the updates: what TIES (arXiv:2306.01708) would leave out, had it not
trimmed before. By chance it is what the same magnitudes with independent random signs give, of
which one draw is taken; the draw depends on the module's name alone. 0 where all agree, 1/2 where
updates cancel.
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
        opposed: Share of the mass against the elected sign, None where there is no mass.
        chance: The same for random signs.
        weight: The mass that was looked at.
    """

    module: str
    opposed: float | None
    chance: float | None
    weight: float


def signs(stack: Stack, entries: Float[Tensor, "task m n"]) -> Signs:
    """Measure a module; `entries` are those of `values.sample`."""
    heads = torch.rand(entries.shape, generator=stack.generator(0, "diagnose", "signs")) < 0.5
    mass = float(entries.abs().sum())
    chance = _opposed(entries.abs() * torch.where(heads, 1.0, -1.0))
    return Signs(stack.module, _opposed(entries), chance, mass)


def _opposed(entries: Float[Tensor, "task m n"]) -> float | None:
    mass = float(entries.abs().sum())
    return share((mass - float(entries.sum(0).abs().sum())) / 2, mass)
