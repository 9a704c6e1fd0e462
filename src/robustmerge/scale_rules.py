r"""Scale rules: how large a merged update should be, given by the sizes of the adapters' updates.

    mean               ‖Δ‖ = ‖Σ_t w_t Δ_t / Σ_t |w_t|‖
    norm-matched       ‖Δ‖ = Σ_t |w_t| ‖Δ_t‖ / Σ_t |w_t|
    geometric-middle   ‖Δ‖ = the geometric mean of both
    kept               mean_t <Δ, Δ_t> / (w_t ‖Δ_t‖²) = 0.4
    metric             Σ tr(L_t D_t G_t Δ^T) = Σ tr(L_t Δ G_t Δ^T)

in Frobenius norms. Where tasks are orthogonal, the mean is √T too small for each of them, and a sum
matched to one adapter's norm is as large as any update the model was trained with. The best size
lies between the two in experiments, and the scales tuned in publications differ 40-fold between
methods, so that a comparison of methods at one scale is a comparison of scales. `kept` says how
much of every adapter's update the merge has, which is the factor itself in a sum of orthogonal
updates; 0.4 is near the best of most methods for eight adapters. Where the merge has none of them
on average, it is norm-matched. `metric` takes the size that is best in DRIFT's measure of errors
(methods/regression/drift.py, without its caution), which weighs inputs and outputs and takes a pass
of its own. It is for updates of another shape than the sum's, such as those of spectral methods and
of WUDI, where adapters share their start of A; a sum comes out about twice as large as is good.

A rule is a function from sizes to the norm of the result, registered by `@scale_rule`. Nothing here
imports torch, so that the command line can list the rules in its help.

Source: norm matching: Pico, arXiv:2604.16826; geometric middle, kept and metric: own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .errors import unknown

_ROUNDING = 1e-6
"""Ten times the precision of float32, in which scalings are folded into B."""


@dataclass(frozen=True)
class Sizes:
    """Squared Frobenius norms, which add up over modules.

    Attributes:
        merged: Of the merged update.
        mean: Of the weighted mean of the updates.
        each: Of every adapter's update.
        along: The merged update's inner product with every adapter's update.
        weights: The adapters' weights.
        wanted: In DRIFT's measure, the merged update's product with what the adapters want; 0 where
            no rule needs it.
        answered: In that measure, the merged update's own square.
    """

    merged: float
    mean: float
    each: tuple[float, ...]
    along: tuple[float, ...]
    weights: tuple[float, ...]
    wanted: float = 0.0
    answered: float = 0.0

    def __add__(self, other: Sizes) -> Sizes:
        each = tuple(a + b for a, b in zip(self.each, other.each, strict=True))
        along = tuple(a + b for a, b in zip(self.along, other.along, strict=True))
        return Sizes(
            self.merged + other.merged,
            self.mean + other.mean,
            each,
            along,
            self.weights,
            self.wanted + other.wanted,
            self.answered + other.answered,
        )

    def factor(self, rule: str) -> float:
        """Return what the merged update is multiplied by under a rule.

        It is 1 where the update is zero, or only rounding, which a rule would blow up.

        Raises:
            MergeError: no rule of this name
        """
        norm = find_scale_rule(rule).norm
        return 1.0 if self.merged == 0 or self.cancels else norm(self) / math.sqrt(self.merged)

    @property
    def cancels(self) -> bool:
        """Whether the merged update is what rounding leaves where the updates cancel."""
        return 0 < math.sqrt(self.merged) < _ROUNDING * _norm_matched(self)


@dataclass(frozen=True)
class ScaleRule:
    """A registered scale rule.

    Attributes:
        name: What the user types.
        meaning: One line for the help texts.
        norm: The merged update's norm under this rule.
        of_inputs: Whether it needs `wanted` and `answered`, which take a first pass.
    """

    name: str
    meaning: str
    norm: Callable[[Sizes], float]
    of_inputs: bool = False


_RULES: dict[str, ScaleRule] = {}
_KEPT = 0.4  # docs/ours.md


def scale_rule(
    name: str, meaning: str, *, of_inputs: bool = False
) -> Callable[[Callable[[Sizes], float]], Callable[[Sizes], float]]:
    """Register a function as the scale rule `name`."""

    def register(norm: Callable[[Sizes], float]) -> Callable[[Sizes], float]:
        _RULES[name] = ScaleRule(name, meaning, norm, of_inputs)
        return norm

    return register


def scale_rules() -> tuple[ScaleRule, ...]:
    """Return all registered rules, in the order in which they were registered."""
    return tuple(_RULES.values())


def find_scale_rule(name: str) -> ScaleRule:
    """Return the rule of this name.

    Raises:
        MergeError: no rule of this name
    """
    if name not in _RULES:
        raise unknown("scale rule", name, _RULES)
    return _RULES[name]


@scale_rule("mean", "as large as the weighted mean of the updates")
def _mean(sizes: Sizes) -> float:
    return math.sqrt(sizes.mean)


@scale_rule("norm-matched", "as large as the adapters' updates are on average")
def _norm_matched(sizes: Sizes) -> float:
    total = sum(map(abs, sizes.weights)) or 1.0
    pairs = zip(sizes.weights, sizes.each, strict=True)
    return sum(abs(w) * math.sqrt(x) for w, x in pairs) / total


@scale_rule("geometric-middle", "the geometric mean of both")
def _geometric_middle(sizes: Sizes) -> float:
    return math.sqrt(_mean(sizes) * _norm_matched(sizes))


@scale_rule("kept", "so large that 0.4 of each adapter's update is in it, on average")
def _kept(sizes: Sizes) -> float:
    rows = zip(sizes.weights, sizes.each, sizes.along, strict=True)
    shares = [along / (w * square) for w, square, along in rows if w and square]
    mean = sum(shares) / max(len(shares), 1)
    return _KEPT * math.sqrt(sizes.merged) / mean if mean > 0 else _norm_matched(sizes)


@scale_rule("metric", "the size that is best in DRIFT's measure of errors", of_inputs=True)
def _metric(sizes: Sizes) -> float:
    if min(sizes.wanted, sizes.answered) <= 0:
        return _norm_matched(sizes)
    return sizes.wanted / sizes.answered * math.sqrt(sizes.merged)
