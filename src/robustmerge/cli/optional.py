"""Verbs that need libraries which the base installation leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import MergeError

LIBRARIES = (
    *("transformers", "peft", "accelerate", "PIL", "tokenizers", "openai"),
    *("scipy", "altair", "vl_convert", "gguf"),
    *("optuna", "ray"),
)


@contextmanager
def needing(what: str, requirement: str) -> Iterator[None]:
    """Turn the error of a missing library into one that says how to install it.

    Args:
        what: What needs it, such as "running a model".
        requirement: What to install, such as robustmerge[collect].

    Raises:
        MergeError: a library of LIBRARIES that is not installed
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in LIBRARIES:
            raise
        raise MergeError(
            f"{what} needs {error.name}, which is not installed",
            hint=f"pip install '{requirement}'",
        ) from None
