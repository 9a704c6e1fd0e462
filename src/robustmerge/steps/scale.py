r"""Scale rules: how large the merged update should be, told by the adapters' own sizes.

    mean               ‖Δ‖ = ‖Σ_t w_t Δ_t / Σ_t |w_t|‖
    norm-matched       ‖Δ‖ = Σ_t |w_t| ‖Δ_t‖ / Σ_t |w_t|
    geometric-middle   ‖Δ‖ = the geometric mean of both

in Frobenius norms. Where tasks are orthogonal the mean is √T too small for each of them, and a sum
matched to one adapter's norm is as large as the model has seen updates to be. What is best lies
between the two in experiments, and papers' own tuned scales differ 40-fold between methods, so that
methods compared at one scale are compared by their scale. The adapters' sizes are those before any
balancing. By default the norms are those of all
modules together, which gives one factor for the whole model and takes a pass of its own; over a
module, every module gets a factor of its own, as in Pico.

Source: norm matching: Pico, arXiv:2604.16826; geometric middle: own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from ..factors import Stack, Update
from ..linalg import concat, norm

Rule = Literal["mean", "norm-matched", "geometric-middle"]
RULES: tuple[str, ...] = get_args(Rule)


@dataclass(frozen=True)
class Sizes:
    """Squared Frobenius norms, which add up over modules.

    Attributes:
        merged: Of the merged update.
        mean: Of the weighted mean of the updates.
        each: Of every adapter's update.
        weights: The adapters' weights.
    """

    merged: float
    mean: float
    each: tuple[float, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, update: Update, stack: Stack) -> Sizes:
        """Measure one module."""
        total = sum(map(abs, stack.weights)) or 1.0
        return cls(
            norm(update) ** 2,
            (norm(concat(stack)) / total) ** 2,
            tuple(norm(f) ** 2 for f in stack.factors),
            stack.weights,
        )

    def __add__(self, other: Sizes) -> Sizes:
        each = tuple(a + b for a, b in zip(self.each, other.each, strict=True))
        return Sizes(self.merged + other.merged, self.mean + other.mean, each, self.weights)

    def factor(self, rule: str) -> float:
        """What to multiply the merged update by; 1 where it is zero."""
        if self.merged == 0:
            return 1.0
        total = sum(map(abs, self.weights)) or 1.0
        sizes = zip(self.weights, self.each, strict=True)
        matched = sum(abs(w) * math.sqrt(x) for w, x in sizes) / total
        mean = math.sqrt(self.mean)
        wanted = {"mean": mean, "norm-matched": matched}.get(rule, math.sqrt(mean * matched))
        return wanted / math.sqrt(self.merged)
