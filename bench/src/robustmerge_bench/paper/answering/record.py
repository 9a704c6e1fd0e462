"""run.json: what the answers beside it are of, so that only the same run goes on with them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError, writing
from robustmerge.files import read_json

FILE = "run.json"
FORMAT = 1
KEPT = "free some space or choose another folder; answers so far are kept"
_SAME = ("format", "base", "settings")


def merged(out: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a folder once these tasks are in it, with those that already are.

    Args:
        out: The folder.
        record: What is to be answered now.

    Raises:
        MergeError: The folder's answers are of another model, other settings or other questions.
    """
    path = out / FILE
    if not path.exists():
        strangers = sorted(file.name for file in out.glob("*.jsonl")) if out.is_dir() else []
        if strangers:
            raise MergeError(
                f"the folder holds {strangers[0]}, but no {FILE} that says what it is",
                where=str(out),
                hint="choose another folder",
            )
        return dict(record)
    there = read_json(path)
    differences = [
        *_differences(_only(there), _only(record)),
        *_adapters(there.get("adapter"), record["adapter"]),
    ]
    tasks = there.get("questions", {})
    for name, now in record["questions"].items():
        if name in tasks:
            differences += _differences(tasks[name], now, f"{name}.", skip=("file",))
    if differences:
        raise MergeError(
            "the folder holds answers of another run",
            where="\n".join([str(path), *differences[:6]]),
            hint="choose another folder for this run, or delete that one",
        )
    return {**record, "questions": {**tasks, **record["questions"]}}


def write(out: Path, record: Mapping[str, Any]) -> None:
    """Write the record; the file appears whole or not at all."""
    partial = out / f".{FILE}.partial"
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    with writing(out, hint=KEPT):
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
        partial.replace(out / FILE)


def forget(out: Path, task: str) -> None:
    """Forget a task, so that other questions of it can be answered into the same folder.

    Its answers are to be removed before.
    """
    if (out / FILE).exists():
        there = read_json(out / FILE)
        left = {name: facts for name, facts in there["questions"].items() if name != task}
        write(out, {**there, "questions": left})


def rebase(out: Path, base: str) -> None:
    """Note that the base, which is known to be the same one, is somewhere else by now."""
    if (out / FILE).exists():
        write(out, {**read_json(out / FILE), "base": base})


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other runs out of the folder, until the process ends in whatever way.

    Raises:
        MergeError: Another is at work in it.
    """
    with writing(out, hint=KEPT):
        out.mkdir(parents=True, exist_ok=True)
    if os.name != "posix":  # a system without such locks
        yield
        return
    folder = os.open(out, os.O_RDONLY)
    try:
        _lock(folder, out)
        yield
    finally:
        os.close(folder)


def _lock(folder: int, out: Path) -> None:
    import fcntl

    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MergeError(
            "another run is writing to the folder",
            where=str(out),
            hint="wait for it, or choose another folder",
        ) from None
    except OSError:  # a file system without locks
        return


def _only(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record.get(name) for name in _SAME}


def _adapters(there: Any, now: Any) -> Iterator[str]:
    """Both sides where the adapters' files differ; the same one may have been moved."""
    files = [one and one["files"] for one in (there, now)]
    if files[0] != files[1]:
        names = [one["source"] if one else "none" for one in (there, now)]
        same = " (its files have changed)" if names[0] == names[1] else ""
        yield f"adapter: {names[0]} there, {names[1]} now{same}"


def _differences(
    there: Any, now: Any, prefix: str = "", *, skip: tuple[str, ...] = ()
) -> Iterator[str]:
    """Both sides of whatever differs."""
    if isinstance(there, dict) and isinstance(now, dict):
        for name in [*there, *(name for name in now if name not in there)]:
            if name not in skip:
                yield from _differences(there.get(name), now.get(name), f"{prefix}{name}.")
    elif there != now:
        yield f"{prefix.rstrip('.')}: {_short(there)} there, {_short(now)} now"


def _short(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value)
    # Of a path, both ends tell.
    return text if len(text) <= 70 else f"{text[:20]}…{text[-49:]}"
