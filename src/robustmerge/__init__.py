"""Merge LoRA adapters of one model into one adapter."""

__version__ = "0.1.0"
