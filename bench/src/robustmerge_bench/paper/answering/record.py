"""run.json: what the answers next to it belong to, so that only the same run adds to them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robustmerge.adapter.source import local_folder
from robustmerge.errors import MergeError, writing
from robustmerge.files import alone_in, read_json, write_json

FILE = "run.json"
FORMAT = 1
KEPT = "free some space or choose another folder; answers so far are kept"
_SAME = ("format", "base", "settings")
_LONGEST = 70  # letters of a value in a message


def merge_records(out: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a folder, with a run added to it.

    Raises:
        MergeError: The folder's answers are of another model, other settings or other questions.
    """
    path = out / FILE
    if not path.exists():
        answers = sorted(file.name for file in out.glob("*.jsonl")) if out.is_dir() else []
        if answers:
            raise MergeError(
                f"the folder holds {answers[0]}, but no {FILE} that describes it",
                where=str(out),
                hint="choose another folder",
            )
        return dict(record)
    old = read_json(path)
    differences = [
        *_differences({n: old.get(n) for n in _SAME}, {n: record.get(n) for n in _SAME}),
        *_adapter_differences(old.get("adapter"), record["adapter"]),
    ]
    tasks = old.get("questions", {})
    for name, new in record["questions"].items():
        if name in tasks:
            differences += _differences(tasks[name], new, f"{name}.", skip=("file",))
    if differences:
        raise MergeError(
            "the folder holds answers of another run",
            where="\n".join([str(path), *differences[:6]]),
            hint="choose another folder for this run, or delete that one",
        )
    return {**record, "questions": {**tasks, **record["questions"]}}


def write(out: Path, record: Mapping[str, Any]) -> None:
    """Write the record; the file appears whole or not at all."""
    with writing(out, hint=KEPT):
        write_json(out / FILE, record)


def forget(out: Path, task: str) -> None:
    """Remove a task from the record, so that other questions of it can be answered there.

    Its answers are to be removed before.
    """
    if (out / FILE).exists():
        old = read_json(out / FILE)
        others = {name: facts for name, facts in old["questions"].items() if name != task}
        write(out, {**old, "questions": others})


def rebase(out: Path, base: str) -> None:
    """Record a new location of the base, which is known to be the same one."""
    if (out / FILE).exists():
        write(out, {**read_json(out / FILE), "base": resolve_base(base)})


def resolve_base(base: str) -> str:
    """Return a base as the record names it: the full path of a folder, or a Hub id."""
    folder = local_folder(base)
    return str(folder.resolve()) if folder else base


@contextmanager
def lock(out: Path) -> Iterator[None]:
    """Make the folder, and keep other runs out of it until the process ends, in whatever way.

    Raises:
        MergeError: Another run is writing to it.
    """
    with writing(out, hint=KEPT):
        out.mkdir(parents=True, exist_ok=True)
    with alone_in(out):
        yield


def _adapter_differences(old: Any, new: Any) -> Iterator[str]:
    """Yield both sides where the adapters' files differ; the same one may have been moved."""
    files = [adapter and adapter["files"] for adapter in (old, new)]
    if files[0] != files[1]:
        names = [adapter["source"] if adapter else "none" for adapter in (old, new)]
        same = " (its files have changed)" if names[0] == names[1] else ""
        yield f"adapter: {names[0]} there, {names[1]} now{same}"


def _differences(
    old: Any, new: Any, prefix: str = "", *, skip: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield both sides of every difference."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            if name not in skip:
                yield from _differences(old.get(name), new.get(name), f"{prefix}{name}.")
    elif old != new:
        yield f"{prefix.rstrip('.')}: {_short(old)} there, {_short(new)} now"


def _short(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value)
    # Both ends of a path are informative.
    return text if len(text) <= _LONGEST else f"{text[:20]}…{text[20 - _LONGEST + 1 :]}"
