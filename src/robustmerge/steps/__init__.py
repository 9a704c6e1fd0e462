"""Steps before and after a merge, with any method: balance, calibrate, scale.

A merge has five stages, and none depends on how another works:

    balance     updates -> updates       norms, pico
    merge       updates -> one update    any method
    calibrate   one update -> another    svc, subspace-boosting, lines
    scale       a number, or a rule      robustmerge.scale_rules
    cut         to the rank of the result
"""

from __future__ import annotations

from . import lines, norms, pico, subspace_boosting, svc
from ._registry import ConfiguredStep, Stage, Step, every, parse, step
from .scale import measure

__all__ = [
    "ConfiguredStep",
    "Stage",
    "Step",
    "every",
    "lines",
    "measure",
    "norms",
    "parse",
    "pico",
    "step",
    "subspace_boosting",
    "svc",
]
