"""A planted bug."""

from __future__ import annotations

from dataclasses import dataclass

_CORE, _BENCH = "src/robustmerge", "bench/src/robustmerge_bench"


@dataclass(frozen=True)
class Mutant:
    """A planted bug.

    Attributes:
        bug: What is wrong, in words.
        file: Where, below src/robustmerge; or bench/ and where below robustmerge_bench.
        code: What is written there; it occurs once.
        planted: What the bug makes of it.
        tests: Files, or a file and a -k expression, of which a test must fail.
    """

    bug: str
    file: str
    code: str
    planted: str
    tests: tuple[str, ...]

    @property
    def path(self) -> str:
        """The file, from the root of the repository."""
        inside = self.file.removeprefix("bench/")
        return f"{_CORE if inside == self.file else _BENCH}/{inside}"


def plant(bug: str, file: str, code: str, planted: str, *tests: str) -> Mutant:
    return Mutant(bug, file, code, planted, tests)
