"""The Trainer's checkpoints, of which only complete ones are resumed from.

They are in a hidden folder next to the output, `.NAME.training`, with the settings they belong to.
A checkpoint is complete when it holds a marker file, which is written last; what a kill left
incomplete is removed. Two are kept, so that one is complete while the other is written.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from robustmerge.errors import MergeError, few, shown
from robustmerge.files import is_leftover, read_json, write_json

SETTINGS = "settings.json"
MARKER = "whole"
_PREFIX = "checkpoint-"


def checkpoint_folder(output: Path) -> Path:
    """Return the folder of a training's checkpoints while it runs."""
    return output.parent / f".{output.name}.training"


def prepare(folder: Path, settings: Mapping[str, Any], *, restart: bool) -> Path | None:
    """Prepare a folder for a training, and return its last complete checkpoint, if any.

    The folder is that of `checkpoint_folder`. `settings` holds everything that decides the result,
    as JSON. With `restart` an earlier training is removed.

    Raises:
        MergeError: An earlier training in the folder has other settings.
    """
    file = folder / SETTINGS
    last = latest(folder) if file.is_file() and not restart else None
    if last is None:
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder)
        write_json(file, settings)
    else:
        _check_same(read_json(file), settings, folder)
    return last


def _clear(folder: Path) -> None:
    """Empty an earlier training's folder, which holds settings, checkpoints and logs alone.

    Raises:
        MergeError: The folder holds anything else.
    """
    paths = [path for path in folder.iterdir() if not is_leftover(path)]
    names = [path.name for path in paths]
    alien = [n for n in names if n not in (SETTINGS, "runs") and not n.startswith(_PREFIX)]
    if alien or (names and SETTINGS not in names):
        raise MergeError(
            f"the folder of checkpoints holds what no training wrote: {few(alien or names)}",
            where=str(folder),
            hint="move it elsewhere, or choose another output",
        )
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def latest(folder: Path) -> Path | None:
    """Return the last complete checkpoint; incomplete ones are removed."""
    complete: list[tuple[int, Path]] = []
    for checkpoint in folder.glob(f"{_PREFIX}*"):
        number = checkpoint.name.removeprefix(_PREFIX)
        if number.isdecimal() and (checkpoint / MARKER).is_file():
            complete.append((int(number), checkpoint))
        else:
            shutil.rmtree(checkpoint)
    return max(complete)[1] if complete else None


class CheckpointMarker(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Marks a checkpoint as complete when every process has written its part."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Mark the checkpoint of this step."""
        del control
        args.distributed_state.wait_for_everyone()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"{_PREFIX}{state.global_step}" / MARKER).touch()


def _check_same(old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> None:
    old, new = dict(_flatten(old)), dict(_flatten(new))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if names:
        lines = [f"{n}: {shown(old.get(n))} there, {shown(new.get(n))} here" for n in names[:6]]
        raise MergeError(
            f"a training with {len(names)} other settings was started here",
            where="\n".join([str(folder), *lines]),
            hint="use the same settings to resume it, or --restart to discard it",
        )


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every entry of nested settings with its path."""
    if isinstance(value, Mapping):
        pairs = [(str(key), entry) for key, entry in value.items()]
    elif isinstance(value, list | tuple):
        pairs = [(str(number), entry) for number, entry in enumerate(value, 1)]
    else:
        yield name, value
        return
    for key, entry in pairs:
        yield from _flatten(entry, f"{name} {key}".strip())
