"""A planted bug."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "src/robustmerge/"


@dataclass(frozen=True)
class Mutant:
    """A planted bug.

    Attributes:
        bug: What is wrong, in words.
        file: Where, below src/robustmerge.
        code: What is written there; it occurs once.
        planted: What the bug makes of it.
        tests: Files, or a file and a -k expression, of which a test must fail.
    """

    bug: str
    file: str
    code: str
    planted: str
    tests: tuple[str, ...]


def plant(bug: str, file: str, code: str, planted: str, *tests: str) -> Mutant:
    return Mutant(bug, file, code, planted, tests)
