"""Where a task's files are under one root, in any of the layouts that are about.

ROOT/instructions/ImageNet/test.json             the released scripts, pictures in ROOT/datasets
ROOT/Seen_data/ImageNet/test.json                the data set, pictures beside
ROOT/instructions/Seen_data/ImageNet/test.json   both
ROOT/ImageNet/test.json                          neither
ROOT/Cars/test                                   pictures in a folder for each class
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
_MARK = "test_"


@dataclass(frozen=True)
class LocatedTask:
    """A task's files.

    Attributes:
        questions: Its questions.
        references: Its references; None where it has none, or they are not there.
        training: Its conversations for training, if they are there.
        images: Folders that paths of pictures may start from.
    """

    questions: Path
    references: Path | None
    training: Path | None
    images: tuple[Path, ...]


def find(root: Path, task: PaperTask) -> LocatedTask:
    """Find a task's files.

    Args:
        root: The folder that holds all tasks.
        task: The task.

    Raises:
        MergeError: There are no questions of it; the message says what was looked for.
    """
    questions = located(root, task, task.questions)
    folder = questions.parent
    return LocatedTask(
        questions,
        _first(root, task, task.references, folder, folders=True),
        _first(root, task, task.training, folder),
        image_roots(root, task, folder),
    )


def located(root: Path, task: PaperTask, names: Sequence[str]) -> Path:
    """A task's file of one of these names.

    Raises:
        MergeError: There is none.
    """
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


def image_roots(root: Path, task: PaperTask, *beside: Path) -> tuple[Path, ...]:
    """Folders that paths of a task's pictures may start from, the likely ones first.

    Args:
        root: The folder that holds all tasks.
        task: The task.
        *beside: Folders of its files.
    """
    heads = [root / head / level for head, level in product(("datasets", *_HEADS), _LEVELS)]
    own = [head / folder for head, folder in product(heads, task.folders)]
    first = [root / "datasets", root, root / "images"]
    within = [place / name for place in [*beside, *own] for name in _IMAGES]
    with reading(root):
        return tuple(p for p in dict.fromkeys([*first, *heads, *within]) if p.is_dir())


def picture(found: LocatedTask, question: Question) -> Path | None:
    """The file of a question's picture; None where it has none.

    Raises:
        MergeError: It is in none of the places where it may be.
    """
    if question.image is None:
        return None
    for name, folder in product(_names(question.image), found.images):
        path = folder / name
        with reading(path):
            if path.is_file():
                return path
    raise MergeError(
        f"no picture {question.image}",
        where=f"{question.where}, question {question.id}",
        hint=f"looked for it in {few([str(p) for p in found.images], 8)}",
    )


def _names(written: str) -> Iterator[str]:
    """A picture's path as it is written, then with and without the mark some copies have."""
    path = PurePosixPath(written)
    yield str(path)
    if not path.name:  # it names a folder
        return
    marked = path.name.startswith(_MARK)
    yield str(path.with_name(path.name.removeprefix(_MARK) if marked else _MARK + path.name))


def _first(
    root: Path, task: PaperTask, names: Sequence[str], *before: Path, folders: bool = False
) -> Path | None:
    """The first of these files that is there; also a folder, where it may be one."""
    folders = folders or task.kind == "label"
    places = [
        root / head / level / folder
        for head, level, folder in product(_HEADS, _LEVELS, task.folders)
    ]
    for folder, name in product([*before, *places], names):
        path = folder / name
        with reading(path):
            if path.is_file() or (folders and path.is_dir()):
                return path
    return None
