"""The one error a user sees: what is wrong, where, and what to do about it."""

from __future__ import annotations

import errno
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from glob import iglob
from itertools import islice
from pathlib import Path
from reprlib import Repr


class MergeError(Exception):
    """An error that the user can fix.

    Attributes:
        problem: What is wrong, with the values in it.
        where: The file, module or option concerned; several lines show both sides of a mismatch.
        hint: What to do.
    """

    def __init__(self, problem: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.problem]
        if self.where:
            first, *rest = self.where.splitlines()
            lines += [f"  where: {first}", *(f"         {line}" for line in rest)]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


def unknown(kind: str, name: str, known: Iterable[str], *, where: str = "") -> MergeError:
    """Make the error for an unknown name, with the nearest known one."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names) or 'none'}"
    return MergeError(f"unknown {kind} {name!r}", where=where, hint=hint)


_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_FILES = "this system lets a process open few files: raise the limit with `ulimit -n 4096`"
_LIMITS = {errno.EMFILE: _FILES, errno.ENFILE: _FILES}
"""Hints where the system is at a limit."""


FEWER_WORKERS = "fewer --workers or a smaller --rank need less, or take a machine with more"


@contextmanager
def enough_memory(where: str = "", hint: str = FEWER_WORKERS) -> Iterator[None]:
    """Turn the libraries' several errors of an exhausted memory into one.

    Args:
        where: What memory was wanted for.
        hint: What needs less.

    Raises:
        MergeError: the memory of the machine or of its accelerator did not suffice in the block.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if not isinstance(error, MemoryError) and not _MEMORY.search(text):
            raise
        raise MergeError(
            f"out of memory{': ' if text else ''}{first_line(error) if text else ''}",
            where=where,
            hint=hint,
        ) from None


_MEMORY = re.compile(
    r"out of memory|not enough memory|can(?:'|no)t allocate memory|can't start new thread",
    re.IGNORECASE,
)
"""What torch says of memory, on processors and on accelerators, and Python where a thread's stack
finds no room."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the system's refusal to read a file into an error that names the file.

    Raises:
        MergeError: the system refused in the block; or the path is a pipe or a device, which may
            have no end.
    """
    try:
        mode = path.stat().st_mode if path.exists() else 0
        if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise MergeError(
                "neither a file nor a folder, but a pipe or a device",
                where=str(path),
                hint="write its content to a file, and name that",
            )
        yield
    except OSError as error:
        hint = "check that the file exists, is not removed meanwhile, and may be read"
        raise MergeError(
            f"cannot read the file: {error.strerror or error}",
            where=str(path),
            hint=_LIMITS.get(error.errno or 0) or advise_unexpanded(path) or hint,
        ) from None


def advise_unexpanded(path: str | Path) -> str:
    """Return advice for a path in which a shell has left a pattern or a variable as it was.

    '' for all other paths.
    """
    text = str(path)
    if "$" in text:
        return "the shell expands variables in double quotes or none, not in single quotes"
    if text.startswith("~") and not text.startswith("~/"):
        return "there is no such user; ~/ is the own home"
    if not set("*?[{") & set(text):
        return ""
    matches: list[str] = []
    with suppress(ValueError):  # a null byte
        matches = sorted(islice(iglob(text), 100))  # noqa: PTH207  # of a Path, no absolute ones
    if not matches:
        return "the shell found nothing for this pattern, and left it as it is; check the path"
    return f"a pattern in quotes is not expanded by the shell; name {few(matches)}"


@contextmanager
def writing(path: Path, *, hint: str = "choose a path that may be written to") -> Iterator[None]:
    """Turn the system's refusal to write into an error that names the path.

    Raises:
        MergeError: the system refused in the block.
    """
    try:
        yield
    except OSError as error:
        raise MergeError(
            f"cannot write: {error.strerror or error}", where=str(path), hint=hint
        ) from None


@contextmanager
def within(location: str) -> Iterator[None]:
    """Add a location to the errors of the block, before their own.

    Raises:
        MergeError: the block raised one.
    """
    try:
        yield
    except MergeError as error:
        locations = "\n".join(filter(None, (location, error.where)))
        raise MergeError(error.problem, where=locations, hint=error.hint) from None


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error without colors; its class if it has no text."""
    lines = _COLOR.sub("", str(error)).strip().splitlines()
    return lines[0].rstrip() if lines else type(error).__name__


def shown(value: object) -> str:
    """Write a value for a message as Python does, but never long, however deep it is."""
    short = Repr()
    short.maxstring = short.maxother = 80
    short.maxlevel = 2
    try:
        return short.repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of more digits than any"


def few(names: Sequence[str], most: int = 3) -> str:
    """List the first names, and count the others."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … and {len(names) - most} more"
