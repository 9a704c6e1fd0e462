"""The result of one check of an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class CheckStatus(str, Enum):
    """The adapter passes, passes under a condition, or fails."""

    OK = "ok"
    NOTE = "note"
    FAILS = "fails"


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        verdict: Whether the adapter passes.
        text: The finding in words.
        advice: What to do, '' where there is nothing to do.
    """

    verdict: CheckStatus
    text: str = ""
    advice: str = ""


OK = Finding(CheckStatus.OK)


def ok(text: str) -> Finding:
    """Make the finding of a check that holds."""
    return Finding(CheckStatus.OK, text)


def note(text: str, advice: str = "") -> Finding:
    """Make the finding of a check that holds under a condition."""
    return Finding(CheckStatus.NOTE, text, advice)


def fails(text: str, advice: str = "") -> Finding:
    """Make the finding of a check that fails."""
    return Finding(CheckStatus.FAILS, text, advice)
