"""What a program does with adapters of one family: rows of data, each with how it was verified.

A runtime's file holds the rows of its program. A family is called as transformers calls it
(`model_type`). With `--base`, the base's own settings name the family; otherwise it is guessed, and
a row is applied only if all candidates agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from ...adapter import layout
from ...families import Prefixes
from ..contents import Contents
from ..family import candidates


@dataclass(frozen=True)
class Evidence:
    """How a row is known.

    Attributes:
        how: The program was run with such adapters, or its code was read.
        version: The program with its version.
        date: The day, as 2026-11-29.
    """

    how: Literal["run", "read"]
    version: str
    date: str

    def __str__(self) -> str:
        return f"{self.version}, {self.how} {self.date}"


@dataclass(frozen=True)
class FamilySupport:
    """One row: a program and a family.

    Attributes:
        evidence: How the row is known.
        lora: Whether the program takes LoRA on the family.
        why: The reason where it does not, or what it does otherwise.
        names: Prefixes of names in an adapter, and what the program puts in their place; the first
            that matches counts.
        towers: What becomes of LoRA on vision tower and connector: left out without a word, taken
            under a setting of the server, or an error at the first image.
        vision: The name in the program that modules of the vision tower are under.
        text_architecture: The program finds the language model only where the base's `text_config`
            names its `architectures`.
    """

    evidence: Evidence
    lora: bool = True
    why: str = ""
    names: Prefixes = ()
    towers: Literal["left out", "with a setting", "error"] = "left out"
    vision: str = ""
    text_architecture: bool = False

    def lands(self, written: str) -> bool:
        """Decide whether a name means the module there that its name of today means."""
        return self.program_name(written) == self.program_name(layout.canonical(written))

    def program_name(self, written: str) -> str:
        """Return what the program calls a module that an adapter calls this."""
        for old, new in self.names:
            if written == old or written.startswith(f"{old}."):
                return new + written[len(old) :]
        return written


Rows = Mapping[str, FamilySupport]
"""A program's rows by family."""

Result = TypeVar("Result")


def agreed(contents: Contents, rows: Rows, of: Callable[[FamilySupport], Result]) -> Result | None:
    """Return what the rows of all candidates say; None where one has no row or they differ."""
    names = candidates(contents)
    answers = [of(rows[name]) for name in names if name in rows]
    if not answers or len(answers) < len(names) or any(a != answers[0] for a in answers):
        return None
    return answers[0]


def evidence(contents: Contents, rows: Rows) -> str:
    """Return how the rows of the candidates are known, in parentheses."""
    known = dict.fromkeys(str(rows[name].evidence) for name in candidates(contents) if name in rows)
    return f" ({'; '.join(known)})" if known else ""


def rows_of(families: Iterable[str], row: FamilySupport) -> dict[str, FamilySupport]:
    """Give several families the same row."""
    return dict.fromkeys(families, row)
