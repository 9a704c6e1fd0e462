"""Results as plain data for JSON."""

from __future__ import annotations

import math
from typing import Any

from .resampling import ScoreEstimate


def with_interval(estimate: ScoreEstimate) -> dict[str, Any]:
    """Return a value and its interval."""
    return {"value": estimate.value, "interval": [estimate.low, estimate.high]}


def round_numbers(value: Any) -> Any:
    """Round numbers to six digits and drop what JSON has no words for: NaN and tuples."""
    if isinstance(value, dict):
        return {key: round_numbers(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [round_numbers(each) for each in value]
    if isinstance(value, float):
        # Digits rather than decimals: a p-value may be very small.
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
