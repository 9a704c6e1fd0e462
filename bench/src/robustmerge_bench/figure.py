"""A value with its interval: what tables are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Num

from .stats import LEVEL


@dataclass(frozen=True)
class ScoreEstimate:
    """A value with its interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, drawn: Num[np.ndarray, " draws"]) -> ScoreEstimate:
        """A value and the percentile interval of its draws; NaN where one of these is."""
        if not (math.isfinite(value) and np.isfinite(drawn).all()):
            return cls(value, math.nan, math.nan)
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(value, float(low), float(high))

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2
