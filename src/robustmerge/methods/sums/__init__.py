"""Methods that give every adapter a coefficient and sum."""

from __future__ import annotations

from . import average, task_arithmetic

__all__ = ["average", "task_arithmetic"]
