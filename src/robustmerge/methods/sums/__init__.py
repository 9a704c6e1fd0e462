"""Sums: a coefficient for every adapter."""

from __future__ import annotations

from . import average, inverse_norm, karcher, metagpt, model_stock, peft_linear, task_arithmetic

__all__ = [
    "average",
    "inverse_norm",
    "karcher",
    "metagpt",
    "model_stock",
    "peft_linear",
    "task_arithmetic",
]
