"""Where conversations are: in a file of their own, or of tasks under one root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from robustmerge.errors import MergeError
from robustmerge.files import expand_user

from ..data.find import image_roots, located
from ..tasks import chosen
from .conversations import Source

JOINT = "joint"
"""All tasks that experts are made of, in one adapter: what a merge is compared with."""


def of_tasks(root: Path, names: str) -> tuple[str, list[Source]]:
    """The conversations of tasks under a root, and what they are called together.

    Args:
        root: The folder that holds all tasks.
        names: Tasks such as "scienceqa" or "vqav2,rec", or "joint" for the eight seen ones.

    Raises:
        MergeError: There is no such task, or no conversations of it.
    """
    tasks = chosen("seen" if names == JOINT else names)
    sources = []
    for task in tasks:
        if task.kind == "label":
            raise MergeError(
                f"{task.title} is for CLIP, and has no conversations",
                where=f"--task {names}",
                hint="robustmerge bench train-clip trains experts on it",
            )
        path = located(expand_user(root), task, task.training)
        folders = image_roots(expand_user(root), task, path.parent)
        sources.append(Source(task.name, path, among(folders)))
    name = JOINT if names in (JOINT, "seen") else "+".join(task.name for task in tasks)
    return name, sources


def of_file(path: Path, images: Path | None, task: str | None) -> tuple[str, list[Source]]:
    """The conversations of one file, and what they are called.

    Args:
        path: The file.
        images: Where paths of pictures start; None for the file's folder.
        task: A name; None for the file's.
    """
    path = expand_user(path)
    name = task or path.stem
    return name, [
        Source(name, path, among([path.parent if images is None else expand_user(images)]))
    ]


def among(folders: Sequence[Path]) -> Callable[[str], Path]:
    """Find pictures by their path from the first folder that has them."""

    def find(name: str) -> Path:
        places = [folder / name for folder in folders]
        return next((place for place in places if _is_file(place)), places[0])

    return find


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return False
