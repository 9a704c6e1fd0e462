"""RobustMerge: prune, scale, sum; as released, and as the paper has it."""

from __future__ import annotations

from . import robustmerge, robustmerge_paper

__all__ = ["robustmerge", "robustmerge_paper"]
