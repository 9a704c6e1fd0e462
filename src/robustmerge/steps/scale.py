"""Measure a merged update and the adapters' updates, for the scale rules.

The adapters' sizes are those before any balancing. By default the sizes of all modules are added
up, which gives one factor for the whole model and takes a pass over it; with `--scale-over module`
every module has a factor of its own, as in Pico. The rules are in `robustmerge.scale_rules`.
"""

from __future__ import annotations

from ..factors import Stack, Update
from ..linalg import concat, inner, norm
from ..scale_rules import Sizes
from .input_metric import InputMetric


def measure(update: Update, stack: Stack, metric: InputMetric | None = None) -> Sizes:
    """Measure one module.

    Args:
        update: The merged update, not yet scaled.
        stack: The adapters' updates, not balanced.
        metric: DRIFT's measure of errors, where a rule needs it.
    """
    wanted, answered = metric.sizes(update, stack) if metric else (0.0, 0.0)
    total = sum(map(abs, stack.weights)) or 1.0
    return Sizes(
        norm(update) ** 2,
        (norm(concat(stack)) / total) ** 2,
        tuple(norm(f) ** 2 for f in stack.factors),
        tuple(inner(update, f) for f in stack.factors),
        stack.weights,
        wanted,
        answered,
    )
