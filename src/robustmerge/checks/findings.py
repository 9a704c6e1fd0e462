"""How one check of an adapter ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class CheckStatus(str, Enum):
    """Holds, holds under a condition, or does not."""

    OK = "ok"
    NOTE = "note"
    FAILS = "fails"


@dataclass(frozen=True)
class Finding:
    """How a check ended.

    Attributes:
        verdict: Whether it holds.
        text: What was found.
        advice: What to do, '' where there is nothing to do.
    """

    verdict: CheckStatus
    text: str = ""
    advice: str = ""


OK = Finding(CheckStatus.OK)


def ok(text: str) -> Finding:
    """A check that holds."""
    return Finding(CheckStatus.OK, text)


def note(text: str, advice: str = "") -> Finding:
    """A check that holds under a condition."""
    return Finding(CheckStatus.NOTE, text, advice)


def fails(text: str, advice: str = "") -> Finding:
    """A check that does not hold."""
    return Finding(CheckStatus.FAILS, text, advice)
