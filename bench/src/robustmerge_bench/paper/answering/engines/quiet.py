"""Libraries that keep what is for their developers to themselves."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries from drawing bars of their own and from advice that is none of ours."""
    for name in ("transformers", "httpx", "openai"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        from transformers.utils import logging as theirs
    except ImportError:  # a server needs none
        yield
        return
    shown = theirs.is_progress_bar_enabled()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            theirs.enable_progress_bar()
