"""Folders of images by class, as in torchvision's ImageFolder: every image is a question.

    Cars/train/Audi TT Hatchback 2011/00017.jpg
    Cars/test/Audi TT Hatchback 2011/00076.jpg
    Cars/classes.json      {"Audi TT Hatchback 2011": "Audi TT hatchback"}, or
    Cars/classes.txt       a line for each: folder, tab, name

An image's class is the folder it is in, at any depth. The files of names are optional; without them
a class has the name that CLIP's authors use, or that of its folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError, few, reading, shown

from ..tasks.labels import label
from .questions import Question

IMAGE_ENDINGS: tuple[str, ...] = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".tif")
IMAGE_ENDINGS += (".tiff", ".bmp", ".ppm", ".pgm", ".pbm")
_NAMES = "classes.json maps folders to names; classes.txt has a line for each: folder, tab, name"


def read_image_folder(folder: Path, task: str) -> list[Question]:
    """Read a folder of images by class: the first of every class, then the second, and so on.

    So the first few hundred are of all classes. The id is the path within the folder, the answer
    the name of the class. The text is empty: the model or its caller supplies the prompt.

    The folder has one folder of each class, such as `Cars/test`. The task gives names of classes.

    Raises:
        MergeError: No images, an image without a class, an empty class, or two classes of one
            name.
    """
    files = dict(_list_classes(folder))
    if not any(files.values()):
        raise MergeError("there are no images", where=str(folder), hint=_shape(folder))
    if loose := files.pop("", None):
        raise MergeError(
            f"{len(loose)} images belong to no class, such as {loose[0]}",
            where=str(folder),
            hint=_shape(folder),
        )
    names = _names(folder.parent, task, files)
    turns = sorted((turn, at) for at in files for turn in range(len(files[at])))
    return [_question(folder, at, files[at][turn], names[at]) for turn, at in turns]


def _list_classes(folder: Path) -> Iterable[tuple[str, list[str]]]:
    """Yield the folders of classes with their images; "" is the folder itself."""
    with reading(folder):
        for parent, below, files in os.walk(folder, onerror=_raise, followlinks=True):
            below[:] = sorted(name for name in below if not name.startswith("."))
            at = Path(parent).relative_to(folder).as_posix()
            images = sorted(name for name in files if Path(name).suffix.lower() in IMAGE_ENDINGS)
            if images:
                yield ("" if at == "." else at), images
            elif not below and at != ".":
                raise MergeError(
                    "a class has no images",
                    where=parent,
                    hint=f"remove the folder, or fill it: {' '.join(IMAGE_ENDINGS)}",
                )


def _raise(error: OSError) -> None:
    raise error


def _question(folder: Path, at: str, file: str, name: str) -> Question:
    path, image = folder / at / file, str(folder.absolute() / at / file)
    content = {"question_id": f"{at}/{file}", "image": image, "text": "", "answer": name}
    return Question(str(path), f"{at}/{file}", "", image, content)


def _names(folder: Path, task: str, folders: Iterable[str]) -> dict[str, str]:
    """Return the name of each class."""
    listed = _read_names(folder)
    names: dict[str, str] = {}
    for at in folders:
        name = label(task, at) if listed is None else listed.get(at)
        if name is None:
            raise MergeError(f"no name for the class {at!r}", where=str(folder), hint=_NAMES)
        if twice := [other for other in names if names[other] == name]:
            raise MergeError(
                f"two classes are called {name!r}: {twice[0]} and {at}",
                where=str(folder),
                hint=_NAMES,
            )
        names[at] = name
    return names


def _read_names(folder: Path) -> Mapping[str, str] | None:
    """Return the names in the file of names, None if there is no such file."""
    for path, parse in ((folder / "classes.json", _json), (folder / "classes.txt", _lines)):
        if path.is_file():
            with reading(path):
                text = path.read_bytes().decode("utf-8-sig", errors="replace")
            return _check_names(path, parse(path, text))
    return None


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MergeError(f"not JSON: {error}", where=str(path), hint=_NAMES) from None


def _lines(path: Path, text: str) -> Mapping[str, str]:
    pairs = [line.split("\t") for line in text.splitlines() if line.strip()]
    odd = [pair[0] for pair in pairs if len(pair) != 2]
    if odd:
        raise MergeError(
            f"not a folder, a tab and a name: {few(odd)}", where=str(path), hint=_NAMES
        )
    return {folder.strip(): name.strip() for folder, name in pairs}


def _check_names(path: Path, names: Any) -> Mapping[str, str]:
    if not isinstance(names, dict):
        raise MergeError(f"{shown(names)} is not an object", where=str(path), hint=_NAMES)
    for folder, name in names.items():
        if not isinstance(name, str) or not name.strip():
            raise MergeError(f"{folder!r} is called {shown(name)}", where=str(path), hint=_NAMES)
    return names


def _shape(folder: Path) -> str:
    return f"images are in a folder for each class, as in {folder}/CLASS/1.jpg"
