"""Folders of pictures by class, as torchvision's ImageFolder has them: every picture is a question.

    Cars/train/Audi TT Hatchback 2011/00017.jpg
    Cars/test/Audi TT Hatchback 2011/00076.jpg
    Cars/classes.json      {"Audi TT Hatchback 2011": "Audi TT hatchback"}, or
    Cars/classes.txt       a line for each: folder, tab, name

A picture's class is the folder it lies in, at any depth. The files of names are optional; without
them a class is called as CLIP's authors call it, or as its folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError, few, reading, shown

from ..tasks import PaperTask
from ..tasks.labels import label
from .questions import Question
from .read import read_questions

PICTURES: tuple[str, ...] = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff")
PICTURES += (".bmp", ".ppm", ".pgm", ".pbm")
_NAMES = "classes.json maps folders to names; classes.txt has a line for each: folder, tab, name"


def questions_at(path: Path, task: PaperTask) -> list[Question]:
    """The questions of a task in a file, or in a folder of pictures by class.

    Raises:
        MergeError: It is neither; the message names the question or the class.
    """
    return read_pictures(path, task.name) if path.is_dir() else read_questions(path)


def digest(path: Path, questions: Sequence[Question]) -> str:
    """A hash of a file of questions; of a folder, that of its pictures' names, classes and sizes.

    Raises:
        MergeError: It cannot be read.
    """
    if not path.is_dir():
        with reading(path):
            return sha256(path.read_bytes()).hexdigest()
    found = sha256()
    with reading(path):
        for one in questions:
            facts = [one.id, one.content["answer"], Path(one.where).stat().st_size]
            found.update(f"{json.dumps(facts)}\n".encode())
    return found.hexdigest()


def read_pictures(folder: Path, task: str) -> list[Question]:
    """The pictures of a folder by class: the first of every class, then the second, and so on.

    So the first few hundred are of all classes. The id is the path within the folder, the answer
    the name of the class. There is no text: what is asked is up to who answers.

    Args:
        folder: Has a folder for each class, such as `Cars/test`.
        task: Name of the task, which says what some classes are called.

    Raises:
        MergeError: There are none, one belongs to no class, a class has none, or two classes have
            one name.
    """
    found = {at: list(names) for at, names in _within(folder)}
    if not any(found.values()):
        raise MergeError("there are no pictures", where=str(folder), hint=_shape(folder))
    if loose := found.pop("", None):
        raise MergeError(
            f"{len(loose)} pictures belong to no class, such as {loose[0]}",
            where=str(folder),
            hint=_shape(folder),
        )
    names = _names(folder.parent, task, found)
    turns = sorted((turn, at) for at, files in found.items() for turn in range(len(files)))
    return [_question(folder, at, found[at][turn], names[at]) for turn, at in turns]


def _within(folder: Path) -> Iterable[tuple[str, list[str]]]:
    """The folders of classes, and what is in each; "" is the folder itself.

    Raises:
        MergeError: One cannot be read, or has neither pictures nor folders.
    """
    with reading(folder):
        for place, below, files in os.walk(folder, onerror=_raised, followlinks=True):
            below[:] = sorted(name for name in below if not name.startswith("."))
            at = Path(place).relative_to(folder).as_posix()
            pictures = sorted(name for name in files if Path(name).suffix.lower() in PICTURES)
            if pictures:
                yield ("" if at == "." else at), pictures
            elif not below and at != ".":
                raise MergeError(
                    "a class has no pictures",
                    where=place,
                    hint=f"remove the folder, or fill it: {' '.join(PICTURES)}",
                )


def _raised(error: OSError) -> None:
    raise error


def _question(folder: Path, at: str, file: str, name: str) -> Question:
    path, image = folder / at / file, str(folder.absolute() / at / file)
    content = {"question_id": f"{at}/{file}", "image": image, "text": "", "answer": name}
    return Question(str(path), f"{at}/{file}", "", image, content)


def _names(place: Path, task: str, folders: Iterable[str]) -> dict[str, str]:
    """What each class is called.

    Raises:
        MergeError: The file of names cannot be read or lacks a class, or two have one name.
    """
    given = _given(place)
    names: dict[str, str] = {}
    for at in folders:
        name = label(task, at) if given is None else given.get(at)
        if name is None:
            raise MergeError(f"no name for the class {at!r}", where=str(place), hint=_NAMES)
        if twice := [other for other in names if names[other] == name]:
            raise MergeError(
                f"two classes are called {name!r}: {twice[0]} and {at}",
                where=str(place),
                hint=_NAMES,
            )
        names[at] = name
    return names


def _given(place: Path) -> Mapping[str, str] | None:
    """What the file of names says, where there is one."""
    for path, parse in ((place / "classes.json", _json), (place / "classes.txt", _lines)):
        if path.is_file():
            with reading(path):
                text = path.read_bytes().decode("utf-8-sig", errors="replace")
            return _checked(path, parse(path, text))
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


def _checked(path: Path, found: Any) -> Mapping[str, str]:
    if not isinstance(found, dict):
        raise MergeError(f"{shown(found)} is no object", where=str(path), hint=_NAMES)
    for folder, name in found.items():
        if not isinstance(name, str) or not name.strip():
            raise MergeError(f"{folder!r} is called {shown(name)}", where=str(path), hint=_NAMES)
    return found


def _shape(folder: Path) -> str:
    return f"pictures lie in a folder for each class, as in {folder}/CLASS/1.jpg"
