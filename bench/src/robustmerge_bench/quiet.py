"""Libraries without their progress bars and advice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LIBRARIES = ("transformers", "httpx", "openai")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' progress bars and their advice to developers."""
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    try:
        from transformers.utils import logging as theirs
    except ImportError:  # a server needs none
        theirs = None
    levels = [logger.level for logger in loggers]
    bars = theirs is not None and theirs.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    if bars:
        theirs.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            theirs.enable_progress_bar()
