"""The first questions of a task with their references, so that a short trial can be scored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from robustmerge.errors import reading
from robustmerge.files import read_json, write_json

from ..data.pictures import questions_at
from ..data.questions import Question
from ..data.records import records
from ..tasks import PaperTask


@dataclass(frozen=True)
class LimitedFiles:
    """A task's files.

    Attributes:
        questions: Its questions, or a folder of pictures by class.
        references: Its references; None without.
    """

    questions: Path
    references: Path | None = None


def limited(task: PaperTask, files: LimitedFiles, limit: int, folder: Path) -> LimitedFiles:
    """Write the first questions, and what is known of these, into a folder of their own.

    Args:
        task: The task.
        files: Its files.
        limit: How many questions.
        folder: Where to.

    Raises:
        MergeError: A file cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if files.questions.suffix == ".tsv":
        return LimitedFiles(_table(files.questions, limit, folder), files.references)
    some = questions_at(files.questions, task)[:limit]
    questions = folder / "questions.json"
    questions.write_text(json.dumps([dict(q.content) for q in some]), encoding="utf-8")
    references = files.references
    if references is None:
        return LimitedFiles(questions)
    if task.kind == "captions":
        return LimitedFiles(questions, _captions(references, some, folder))
    if task.kind == "problems":
        return LimitedFiles(questions, _problems(references, some, folder))
    if task.kind == "pope":
        return LimitedFiles(questions, _labels(references, some, folder))
    return LimitedFiles(questions, references)


def _table(path: Path, limit: int, folder: Path) -> Path:
    """The first rows of a table, which have no line ends within."""
    with reading(path), path.open(encoding="utf-8") as file:
        (folder / path.name).write_text("".join(islice(file, limit + 1)), encoding="utf-8")
    return folder / path.name


def _captions(path: Path, some: Sequence[Question], folder: Path) -> Path:
    """The images of these questions, by name or else by place, numbered from 1."""
    content: Mapping[str, Any] = read_json(path)
    images = sorted(content["images"], key=lambda image: int(image["id"]))
    by_name = {_bare(str(image.get("file_name"))): image for image in images}
    names = [_bare(question.image or "") for question in some]
    own = [by_name[n] for n in names] if {*names} <= {*by_name} else images[: len(some)]
    numbers = {image["id"]: k for k, image in enumerate(own, 1)}
    said = [a for a in content["annotations"] if a["image_id"] in numbers]
    cut = {
        "images": [{**image, "id": numbers[image["id"]]} for image in own],
        "annotations": [{**a, "image_id": numbers[a["image_id"]]} for a in said],
    }
    write_json(folder / path.name, cut)
    return folder / path.name


def _bare(name: str) -> str:
    return PurePosixPath(name).name.removeprefix("test_")


def _problems(path: Path, some: Sequence[Question], folder: Path) -> Path:
    problems = read_json(path)
    ids = [str(question.id) for question in some]
    write_json(folder / path.name, {name: problems[name] for name in ids})
    write_json(folder / "pid_splits.json", {"test": ids})
    return folder / path.name


def _labels(path: Path, some: Sequence[Question], folder: Path) -> Path:
    """POPE's labels, which are in the order of the questions of their category."""
    categories = [str(question.content.get("category")) for question in some]
    for name in dict.fromkeys(categories):
        file = path / f"coco_pope_{name}.json"
        lines = [json.dumps(dict(r.content)) for r in records(file)[: categories.count(name)]]
        (folder / file.name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
