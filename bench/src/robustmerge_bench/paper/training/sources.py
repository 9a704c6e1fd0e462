"""Locations of conversations: a single file, or tasks under one root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from robustmerge.errors import MergeError
from robustmerge.files import expand_user

from ..data.find import find_file, image_roots
from ..tasks import select_tasks
from .conversations import Source

JOINT = "joint"
"""All tasks of the experts in one adapter, which merges are compared with."""


def of_tasks(root: Path, names: str) -> tuple[str, list[Source]]:
    """Return a name for tasks under a root, and the sources of their conversations.

    Args:
        root: The folder that holds all tasks.
        names: Tasks such as "scienceqa" or "vqav2,rec", or "joint" for the eight seen ones.
    """
    tasks = select_tasks("seen" if names == JOINT else names)
    sources = []
    for task in tasks:
        if task.kind == "label":
            raise MergeError(
                f"{task.title} is for CLIP, and has no conversations",
                where=f"--task {names}",
                hint="robustmerge bench train-clip trains experts on it",
            )
        path = find_file(expand_user(root), task, task.training)
        folders = image_roots(expand_user(root), task, path.parent)
        sources.append(Source(task.name, path, search(folders)))
    name = JOINT if names in (JOINT, "seen") else "+".join(task.name for task in tasks)
    return name, sources


def of_file(path: Path, images: Path | None, task: str | None) -> tuple[str, list[Source]]:
    """Return a name for the conversations of one file, and the file as a source.

    Paths of images are relative to the folder `images`, by default the file's own. The name is the
    task's, by default the file's.
    """
    path = expand_user(path)
    name = task or path.stem
    folder = path.parent if images is None else expand_user(images)
    return name, [Source(name, path, search([folder]))]


def search(folders: Sequence[Path]) -> Callable[[str], Path]:
    """Return a function that finds an image in the first folder that has it."""

    def find(name: str) -> Path:
        paths = [folder / name for folder in folders]
        return next((path for path in paths if _is_file(path)), paths[0])

    return find


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return False
