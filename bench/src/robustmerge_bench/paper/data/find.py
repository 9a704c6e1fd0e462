"""Where a task's files are under one root, in any of the common layouts.

ROOT/instructions/ImageNet/test.json             the released scripts, images in ROOT/datasets
ROOT/Seen_data/ImageNet/test.json                the data set, images next to it
ROOT/instructions/Seen_data/ImageNet/test.json   both
ROOT/ImageNet/test.json                          neither
ROOT/Cars/test                                   images in a folder for each class
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath

from robustmerge.errors import MergeError, few, reading

from ..tasks import PaperTask
from .questions import Question

_HEADS = ("instructions", "", "datasets", "data", "eval", "playground/data/eval")
_LEVELS = ("", "Seen_data", "Unseen_data")
_IMAGES = ("", "images", "val2014", "MME_Benchmark_release_version")
_PREFIX = "test_"  # of images in some copies of the data


@dataclass(frozen=True)
class LocatedTask:
    """A task's files.

    Attributes:
        references: Its references; None where it has none, or they are missing.
        training: Its conversations for training, if they are present.
        images: Folders that paths of images may start from.
    """

    questions: Path
    references: Path | None
    training: Path | None
    images: tuple[Path, ...]


def find(root: Path, task: PaperTask) -> LocatedTask:
    """Find a task's files below the folder of all tasks."""
    questions = find_file(root, task, task.questions)
    folder = questions.parent
    return LocatedTask(
        questions,
        _first(root, task, task.references, folder, folders=True),
        _first(root, task, task.training, folder),
        image_roots(root, task, folder),
    )


def find_file(root: Path, task: PaperTask, names: Sequence[str]) -> Path:
    """Return a task's file of one of these names."""
    path = _first(root, task, names)
    if path is None:
        folders = [f"{f}/{name}" for f, name in product(task.folders, names)]
        raise MergeError(
            f"no {' or '.join(names)} of {task.title}",
            where=str(root),
            hint=f"looked for {', '.join(folders)}, there and within "
            f"{', '.join(head for head in _HEADS if head)}, and in Seen_data or Unseen_data of "
            "these; --data is the folder that holds all tasks",
        )
    return path


def image_roots(root: Path, task: PaperTask, *neighbors: Path) -> tuple[Path, ...]:
    """Return folders that paths of a task's images may start from, the likely ones first.

    The root holds all tasks; the neighbors are folders of this task's files.
    """
    heads = [root / head / level for head, level in product(("datasets", *_HEADS), _LEVELS)]
    own = [head / folder for head, folder in product(heads, task.folders)]
    first = [root / "datasets", root, root / "images"]
    within = [folder / name for folder in [*neighbors, *own] for name in _IMAGES]
    with reading(root):
        return tuple(p for p in dict.fromkeys([*first, *heads, *within]) if p.is_dir())


def find_image(located: LocatedTask, question: Question) -> Path | None:
    """Return the file of a question's image; None where it has none."""
    if question.image is None:
        return None
    for name, folder in product(_names(question.image), located.images):
        path = folder / name
        with reading(path):
            if path.is_file():
                return path
    raise MergeError(
        f"no image {question.image}",
        where=f"{question.where}, question {question.id}",
        hint=f"looked for it in {few([str(p) for p in located.images], 8)}",
    )


def _names(written: str) -> Iterator[str]:
    """Yield an image's path as it is written, then with the prefix added or removed."""
    path = PurePosixPath(written)
    yield str(path)
    if not path.name:  # a folder
        return
    prefixed = path.name.startswith(_PREFIX)
    yield str(path.with_name(path.name.removeprefix(_PREFIX) if prefixed else _PREFIX + path.name))


def _first(
    root: Path, task: PaperTask, names: Sequence[str], *before: Path, folders: bool = False
) -> Path | None:
    """Return the first of these files that exists; also a folder, where that is allowed."""
    folders = folders or task.kind == "label"
    parents = [
        root / head / level / folder
        for head, level, folder in product(_HEADS, _LEVELS, task.folders)
    ]
    for folder, name in product([*before, *parents], names):
        path = folder / name
        with reading(path):
            if path.is_file() or (folders and path.is_dir()):
                return path
    return None
