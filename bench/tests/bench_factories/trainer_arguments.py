"""Arguments of transformers' Trainer that its versions name differently."""

from __future__ import annotations

from typing import Any


def recomputes(args: Any, suffix: str = "") -> Any:
    """Return whether activations are computed again, or with `_kwargs` how."""
    new, old = (f"{word}_checkpointing{suffix}" for word in ("activation", "gradient"))
    return getattr(args, new if hasattr(args, new) else old)
