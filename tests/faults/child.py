"""A merge in a process of its own, which halts at a chosen point and says so.

The processes are forked from one that has imported everything, so that each is there at once.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import robustmerge
from robustmerge import outputs
from robustmerge.adapter import writer
from robustmerge.cli import app

_CONTEXT = multiprocessing.get_context("forkserver")
_PACKAGE = Path(robustmerge.__file__).parent
_CONTEXT.set_forkserver_preload(
    [
        "rich.progress",
        *(
            ".".join(("robustmerge", *path.relative_to(_PACKAGE).with_suffix("").parts))
            for path in sorted(_PACKAGE.rglob("*.py"))
            if not path.name.startswith("__")
        ),
    ]
)


class Child:
    """The command, running in another process."""

    def __init__(
        self,
        log: Path,
        *arguments: object,
        halt: str = "",
        two_steps: bool = False,
        deaf: bool = False,
    ) -> None:
        """Start it.

        `halt` is where it waits: "writing" (after the first tensor), "replacing" (before the old
        output goes), "between" (the two renames), "cleaning" (before the hidden folder goes). With
        `two_steps`, folders are exchanged as where the system cannot do it in one; `deaf`, SIGHUP
        is ignored, as by nohup.
        """
        self._log = log
        self._ours, theirs = _CONTEXT.Pipe()
        options = (
            [str(argument) for argument in arguments],
            theirs,
            str(log),
            halt,
            two_steps,
            deaf,
        )
        self._process = _CONTEXT.Process(target=_work, args=options)
        self._process.start()
        theirs.close()

    def reached(self) -> str:
        """Wait until it halts; says where."""
        assert self._ours.poll(60), self.read_output()
        return str(self._ours.recv())

    def go(self) -> None:
        """Let it go on."""
        self._ours.send("go")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process.pid
        os.kill(self._process.pid, number)

    def ended(self) -> int:
        """Wait for its end; the exit code, negative where a signal ended it."""
        self._process.join(60)
        code = self._process.exitcode
        assert code is not None, self.read_output()
        self._process.close()
        self._ours.close()
        return code

    def read_output(self) -> str:
        """Read what it wrote."""
        return self._log.read_text()


def _work(
    arguments: list[str], pipe: Connection, log: str, halt: str, two_steps: bool, deaf: bool
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the test runner ignores
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN if deaf else signal.SIG_DFL)
    sys.stderr = sys.stdout = Path(log).open("w", buffering=1)  # noqa: SIM115
    sys.argv = ["robustmerge", *arguments]

    def wait(*_: Any) -> None:
        pipe.send(halt)
        # Short waits: a signal just before one would not be handled until it ends.
        if any(pipe.poll(0.05) for _ in range(1200)):
            pipe.recv()

    if two_steps:
        outputs._swap = lambda first, second: False
    _PATCHES[halt](wait)
    app.main()


def _after(owner: Any, name: str, wait: Callable[..., None]) -> None:
    """Wait once, after the first call of a function."""
    real = getattr(owner, name)
    calls: list[int] = []

    def patched(*of: Any, **options: Any) -> Any:
        result = real(*of, **options)
        calls.append(1)
        if len(calls) == 1:
            wait()
        return result

    setattr(owner, name, patched)


def _before(owner: Any, name: str, wait: Callable[..., None]) -> None:
    real = getattr(owner, name)

    def patched(*of: Any, **options: Any) -> Any:
        wait()
        return real(*of, **options)

    setattr(owner, name, patched)


def _slowly_cleaning(wait: Callable[..., None]) -> None:
    _after(writer.SafetensorsWriter, "write", wait)
    real = shutil.rmtree

    def slow(*of: Any, **options: Any) -> None:
        wait()
        time.sleep(0.2)
        real(*of, **options)

    shutil.rmtree = slow  # type: ignore[assignment]


_PATCHES: dict[str, Callable[[Callable[..., None]], None]] = {
    "": lambda wait: None,
    "writing": lambda wait: _after(writer.SafetensorsWriter, "write", wait),
    "replacing": lambda wait: _before(outputs, "_exchange", wait),
    "between": lambda wait: _after(Path, "rename", wait),
    "cleaning": _slowly_cleaning,
}


def run_together(children: Sequence[Child]) -> list[int]:
    """Wait until all halt, let all go at once, and wait for their ends."""
    for child in children:
        child.reached()
    for child in children:
        child.go()
    return [child.ended() for child in children]
