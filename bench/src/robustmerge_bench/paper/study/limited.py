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

from ..data.questions import Question
from ..data.read import load_questions
from ..data.records import read_records
from ..tasks import PaperTask


@dataclass(frozen=True)
class QuestionFiles:
    """A task's questions, or its folder of images by class, and its references, if any."""

    questions: Path
    references: Path | None = None


def limit_questions(
    task: PaperTask, files: QuestionFiles, limit: int, folder: Path
) -> QuestionFiles:
    """Write the first questions and their references into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if files.questions.suffix == ".tsv":
        return QuestionFiles(_table(files.questions, limit, folder), files.references)
    questions = load_questions(files.questions, task)[:limit]
    path = folder / "questions.json"
    path.write_text(json.dumps([dict(q.content) for q in questions]), encoding="utf-8")
    references, limit_references = files.references, _BY_KIND.get(task.kind)
    if references is not None and limit_references is not None:
        references = limit_references(references, questions, folder)
    return QuestionFiles(path, references)


def _table(path: Path, limit: int, folder: Path) -> Path:
    """Write the first rows of a table, whose cells have no line ends."""
    with reading(path), path.open(encoding="utf-8") as file:
        (folder / path.name).write_text("".join(islice(file, limit + 1)), encoding="utf-8")
    return folder / path.name


def _captions(path: Path, questions: Sequence[Question], folder: Path) -> Path:
    """Write the captions of these questions' images, by name or else by position, from 1."""
    content: Mapping[str, Any] = read_json(path)
    images = sorted(content["images"], key=lambda image: int(image["id"]))
    by_name = {_bare(str(image.get("file_name"))): image for image in images}
    names = [_bare(question.image or "") for question in questions]
    own = [by_name[n] for n in names] if {*names} <= {*by_name} else images[: len(questions)]
    numbers = {image["id"]: k for k, image in enumerate(own, 1)}
    captions = [a for a in content["annotations"] if a["image_id"] in numbers]
    cut = {
        "images": [{**image, "id": numbers[image["id"]]} for image in own],
        "annotations": [{**a, "image_id": numbers[a["image_id"]]} for a in captions],
    }
    write_json(folder / path.name, cut)
    return folder / path.name


def _bare(name: str) -> str:
    return PurePosixPath(name).name.removeprefix("test_")


def _problems(path: Path, questions: Sequence[Question], folder: Path) -> Path:
    problems = read_json(path)
    ids = [str(question.id) for question in questions]
    write_json(folder / path.name, {name: problems[name] for name in ids})
    write_json(folder / "pid_splits.json", {"test": ids})
    return folder / path.name


def _labels(path: Path, questions: Sequence[Question], folder: Path) -> Path:
    """Write POPE's labels, which are in the order of the questions of their category."""
    categories = [str(question.content.get("category")) for question in questions]
    for name in dict.fromkeys(categories):
        file = path / f"coco_pope_{name}.json"
        lines = [json.dumps(dict(r.content)) for r in read_records(file)[: categories.count(name)]]
        (folder / file.name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


_BY_KIND = {"captions": _captions, "problems": _problems, "pope": _labels}
