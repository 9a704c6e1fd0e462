"""The command in a process of its own, which gets a signal when it is about to change the disk.

Python reports to an audit hook which files are opened to be written, which folders are made, and
what is renamed or removed. So a test needs to know nothing of how a command writes, nor to wait.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, product
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cyclopts import App

from faults.child import _CONTEXT
from robustmerge.cli import app

CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CODES = {"SIGTERM": 143, "SIGKILL": -9, "SIGINT": 130}
"""Exit codes by signal."""
DEFAULTS = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}


@dataclass(frozen=True)
class Ended:
    """What is known of a process that has ended.

    Attributes:
        code: The exit code, negative where a signal ended it.
        output: What it wrote to the screen.
        changes: The changes of the disk that it was about to make, none where it was killed.
    """

    code: int
    output: str
    changes: Sequence[str]


@dataclass(frozen=True)
class Running:
    """The command, running in another process."""

    process: Any
    pipe: Connection
    log: Path

    def ended(self) -> Ended:
        """Wait for its end."""
        assert self.pipe.poll(60), self.log.read_text()
        try:
            changes = self.pipe.recv()
        except EOFError:
            changes = []
        self.process.join(60)
        code = self.process.exitcode
        self.process.close()
        self.pipe.close()
        return Ended(code, self.log.read_text(), changes)


def start(
    root: Path,
    *arguments: object,
    at: int = 0,
    number: int = 0,
    log: Path | None = None,
    prepare: Callable[[], object] | None = None,
) -> Running:
    """Start the command in a folder.

    Args:
        root: The folder. Changes below it are counted.
        arguments: Of the command.
        at: Before which change it gets the signal, from 1; 0 is never.
        number: The signal.
        log: Where its output goes, by default next to the folder.
        prepare: What is called before, in its process.
    """
    ours, theirs = _CONTEXT.Pipe()
    log = log or root.with_name(f"{root.name}.log")
    line = [str(argument) for argument in arguments]
    process = _CONTEXT.Process(target=_work, args=(root, line, at, number, log, prepare, theirs))
    process.start()
    theirs.close()
    return Running(process, ours, log)


def run(root: Path, *arguments: object, **options: Any) -> Ended:
    """Run the command in a folder, as `start` does, and wait for its end."""
    return start(root, *arguments, **options).ended()


def _work(
    root: Path,
    arguments: list[str],
    at: int,
    number: int,
    log: Path,
    prepare: Callable[[], object] | None,
    pipe: Connection,
) -> None:
    for each, handler in DEFAULTS.items():  # whatever the test runner ignores
        signal.signal(each, handler)
    sys.stderr = sys.stdout = log.open("w", buffering=1)
    sys.argv = ["robustmerge", *arguments]
    os.chdir(root)
    if prepare:
        prepare()
    changes: list[str] = []

    def watch(event: str, of: tuple[Any, ...]) -> None:
        if change := _change(event, of, root):
            changes.append(change)
            if len(changes) == at:
                os.kill(os.getpid(), number)

    sys.addaudithook(watch)
    try:
        app.main()
    finally:
        pipe.send(list(changes))


def _change(event: str, of: tuple[Any, ...], root: Path) -> str:
    """Return a change below a folder in words, '' for all else."""
    if event not in CHANGES and not (event == "open" and of[2] & WRITES):
        return ""
    if not isinstance(of[0], (str, bytes, os.PathLike)):
        return ""
    path = Path(os.path.normpath(root / os.fsdecode(of[0])))
    inside = path.is_relative_to(root) or (event in ("os.remove", "os.rmdir") and of[1] != -1)
    return f"{event} {path.name}" if inside else ""


def few_moments(changes: Sequence[str]) -> list[tuple[int, str]]:
    """Choose changes before which to stop, and how: first, middle, last renames and the last."""
    renames = [n for n, change in enumerate(changes, 1) if change.startswith("os.rename")]
    chosen = sorted({1, (len(changes) + 1) // 2, *renames[-1:], len(changes)})
    return list(zip(chosen, cycle(CODES), strict=False))


def all_moments(changes: Sequence[str]) -> list[tuple[int, str]]:
    """Choose every change, with every signal."""
    return list(product(range(1, len(changes) + 1), CODES))


def leaves(of: App, path: Sequence[str] = ()) -> Iterator[str]:
    """List the commands of the command line that are no groups of commands."""
    for name in of:
        if not name.startswith("-"):
            groups = [each for each in of[name] if not each.startswith("-")]
            yield from leaves(of[name], (*path, name)) if groups else [" ".join((*path, name))]
