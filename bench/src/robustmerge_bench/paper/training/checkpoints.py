"""Going on after a stop: the Trainer's checkpoints, of which only whole ones count.

They lie in a hidden folder beside the output, `.NAME.training`, with the settings they belong to.
A checkpoint is whole when it holds a mark, which is written last; what a kill left half written is
removed. Two are kept, so that one is whole while the other is written.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from robustmerge.errors import MergeError, shown
from robustmerge.files import read_json, write_json

SETTINGS = "settings.json"
MARK = "whole"
_PREFIX = "checkpoint-"


def beside(output: Path) -> Path:
    """Where the checkpoints of a training are kept while it goes on."""
    return output.parent / f".{output.name}.training"


def settle(folder: Path, settings: Mapping[str, Any], *, restart: bool) -> Path | None:
    """Make a folder ready for a training, and find where an earlier one stopped.

    Args:
        folder: From `beside`.
        settings: Everything that decides the result, as JSON has it.
        restart: Forget an earlier one.

    Returns:
        The last whole checkpoint, None where there is none.

    Raises:
        MergeError: What was begun here has other settings.
    """
    there = folder / SETTINGS
    last = latest(folder) if there.is_file() and not restart else None
    if last is None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        partial = folder / f"{SETTINGS}.partial"
        write_json(partial, settings)
        partial.replace(there)
    else:
        _check_same(read_json(there), settings, folder)
    return last


def latest(folder: Path) -> Path | None:
    """The last whole checkpoint; those that are not whole are removed."""
    found: list[tuple[int, Path]] = []
    for place in folder.glob(f"{_PREFIX}*"):
        number = place.name.removeprefix(_PREFIX)
        if number.isdecimal() and (place / MARK).is_file():
            found.append((int(number), place))
        else:
            shutil.rmtree(place)
    return max(found)[1] if found else None


class CheckpointMarker(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Marks a checkpoint when every process has written its part."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Mark the checkpoint of this step."""
        del control
        args.distributed_state.wait_for_everyone()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"{_PREFIX}{state.global_step}" / MARK).touch()


def _check_same(there: Mapping[str, Any], here: Mapping[str, Any], folder: Path) -> None:
    old, new = dict(_flat(there)), dict(_flat(here))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if names:
        lines = [f"{n}: {shown(old.get(n))} there, {shown(new.get(n))} here" for n in names[:6]]
        raise MergeError(
            f"a training was begun here with {len(names)} other settings",
            where="\n".join([str(folder), *lines]),
            hint="the same settings go on from where it stopped; --restart forgets it",
        )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every entry of nested settings, by its path."""
    if isinstance(value, Mapping):
        pairs = [(str(key), one) for key, one in value.items()]
    elif isinstance(value, list | tuple):
        pairs = [(str(number), one) for number, one in enumerate(value, 1)]
    else:
        yield name, value
        return
    for key, one in pairs:
        yield from _flat(one, f"{name} {key}".strip())
