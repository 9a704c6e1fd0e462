"""Steps before and after a merge, with any method: balance, calibrate, scale.

A merge has five stages, and none depends on how another works:

    balance     updates -> updates       norms, pico, task-polarization, random-directions
    merge       updates -> one update    any method
    calibrate   one update -> another    svc, subspace-boosting, lines, magic, layer-polarization
    scale       a number, or a rule      robustmerge.scale_rules
    cut         to the rank of the result
"""

from __future__ import annotations

from . import (
    layer_polarization,
    lines,
    magic,
    norms,
    pico,
    random_directions,
    subspace_boosting,
    svc,
    task_polarization,
)
from ._registry import ConfiguredStep, Measure, Stage, Step, every, parse, step
from .scale import measure

__all__ = [
    "ConfiguredStep",
    "Measure",
    "Stage",
    "Step",
    "every",
    "layer_polarization",
    "lines",
    "magic",
    "measure",
    "norms",
    "parse",
    "pico",
    "random_directions",
    "step",
    "subspace_boosting",
    "svc",
    "task_polarization",
]
