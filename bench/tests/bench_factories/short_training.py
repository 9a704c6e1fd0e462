"""A training of a few steps."""

from __future__ import annotations

from dataclasses import replace

from robustmerge_bench.mini.training.experts import ExpertSettings
from robustmerge_bench.mini.training.sizes import SIZES, Size


def brief() -> Size:
    """Return a few steps of every stage."""
    nano = SIZES["nano"]
    return replace(
        nano,
        sight=replace(nano.sight, steps=3),
        pictures=8,
        speech=replace(nano.speech, steps=3),
        rows=4,
        expert=ExpertSettings(rank=2, items=16, epochs=1, batch=8),
    )
