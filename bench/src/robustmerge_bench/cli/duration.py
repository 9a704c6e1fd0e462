"""How long something takes, in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Such as 45 s, 12 min or 2 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
