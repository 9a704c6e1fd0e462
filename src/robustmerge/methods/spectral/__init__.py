"""Methods that look at singular values and at the directions that adapters share."""

from __future__ import annotations

from . import tsv_m

__all__ = ["tsv_m"]
