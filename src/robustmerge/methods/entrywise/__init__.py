"""Methods that see an update as a vector of entries: sparsify, elect, sum."""

from __future__ import annotations

from . import dare, dare_ties, magnitude_prune, pcb, ties

__all__ = ["dare", "dare_ties", "magnitude_prune", "pcb", "ties"]
