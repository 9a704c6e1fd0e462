"""Objective `command`: a user's own command, whose last number on stdout is the score.

`{adapter}` in it stands for the adapter's folder, `{split}` for tuning or held-out, and, where a
server has loaded the adapter, `{model}` for its name there and `{server}` for the URL. There is no
shell between: pipes need `sh -c '…'`.
"""

from __future__ import annotations

import math
import re
import shlex
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MergeError
from .objective import ObjectiveSetup, Split, objective
from .served import AdapterServer

_NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:nan|inf(?:inity)?|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)(?!\w)", re.IGNORECASE
)
_NAMED = re.compile(r"([a-z][a-z0-9_-]*)=(?=\S)")
"""A task's name before a command; variables of the environment are in capitals."""
_SHOWN = 300  # characters of what a failed command printed


@dataclass(frozen=True)
class CommandObjective:
    """Commands that print a number, one for every task."""

    commands: Mapping[str, Sequence[str]]
    server: AdapterServer | None

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the commands."""
        return tuple(self.commands)

    @property
    def splits(self) -> tuple[Split, ...]:
        """Held-out is a part where every command asks for it."""
        asks = all(any("{split}" in w for w in words) for words in self.commands.values())
        return ("tuning", "held-out") if asks else ("tuning",)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The commands; what the programs do is not known here."""
        return {"measure": "command", "commands": {n: list(w) for n, w in self.commands.items()}}

    def scores(self, adapter: Path, split: Split) -> Generator[tuple[str, float], None, None]:
        """Run one command after the other."""
        loaded = self.server.using(adapter) if self.server else nullcontext("")
        with loaded as model:
            values = {"adapter": str(adapter), "split": split, "model": model}
            values["server"] = self.server.url if self.server else ""
            for task, words in self.commands.items():
                yield task, run_command([_filled(word, values) for word in words], task)


@objective(
    "command", "the last number that a command prints: --score 'python my_eval.py {adapter}'"
)
def make(setup: ObjectiveSetup) -> CommandObjective:
    """Read the commands.

    Raises:
        MergeError: no command, or one that never says which adapter.
    """
    if not setup.commands:
        raise MergeError(
            "no command to score by",
            where="--score",
            hint="--score 'python my_eval.py {adapter}', which prints a number",
        )
    wanted = ("{adapter}", "{model}") if setup.server else ("{adapter}",)
    commands = {}
    for task, text in setup.commands.items():
        if not any(mark in text for mark in wanted):
            raise MergeError(
                f"the command never says which adapter: {text}",
                where="--score",
                hint=f"{' or '.join(wanted)} in it stands for the merge that is scored",
            )
        try:
            commands[task] = shlex.split(text)
        except ValueError as error:
            raise MergeError(
                f"the command cannot be read: {error}", where=f"--score {text}", hint="close quotes"
            ) from None
    return CommandObjective(commands, AdapterServer(setup.server) if setup.server else None)


def read_commands(texts: Sequence[str]) -> dict[str, str]:
    """Return the commands of `--score` by task: named as in vqa='python eval.py …', or by number.

    Raises:
        MergeError: two commands of one name.
    """
    commands: dict[str, str] = {}
    for number, text in enumerate(texts, 1):
        match = _NAMED.match(text)
        name = match[1] if match else "score" if len(texts) == 1 else f"score{number}"
        if name in commands:
            raise MergeError(
                f"two scores are called {name!r}", where="--score", hint="--score NAME='command'"
            )
        commands[name] = text[match.end() :] if match else text
    return commands


def run_command(words: Sequence[str], task: str) -> float:
    """Run a command and return the last number of its output.

    Raises:
        MergeError: it cannot be started, fails, or prints no finite number last.
    """
    where = f"{task}: {shlex.join(words)}"
    try:
        done = subprocess.run(words, capture_output=True, check=False, errors="replace")
    except OSError as error:
        raise MergeError(
            f"the command cannot be started: {error.strerror}",
            where=where,
            hint="is the program's path right?",
        ) from None
    if done.returncode:
        text = (done.stderr.strip() or done.stdout.strip())[-_SHOWN:]
        raise MergeError(
            f"the command failed with exit code {done.returncode}: {text or 'it printed nothing'}",
            where=where,
            hint="run it by hand on one of the adapters",
        )
    numbers = _NUMBER.findall(done.stdout)
    if not numbers or not math.isfinite(float(numbers[-1])):
        last = done.stdout.strip()[-_SHOWN:]
        raise MergeError(
            f"the command printed no finite number last: {last or 'nothing'}",
            where=where,
            hint="it has to print the score as the last number on stdout",
        )
    return float(numbers[-1])


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace("{" + name + "}", value)
    return word
