"""Read the questions of a task from a file of either form, or from a folder of images by class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from robustmerge.errors import reading

from ..tasks import PaperTask
from .image_folders import read_image_folder
from .questions import Question, question_of
from .records import read_records
from .tables import read_table


def read_questions(path: Path) -> list[Question]:
    """Read the questions of a file, in its order; MMBench's files are tables (`tables.py`)."""
    if path.suffix == ".tsv":
        return read_table(path)
    return [question_of(record) for record in read_records(path)]


def load_questions(path: Path, task: PaperTask) -> list[Question]:
    """Read the questions of a task from a file, or from a folder of images by class."""
    return read_image_folder(path, task.name) if path.is_dir() else read_questions(path)


def hash_questions(path: Path, questions: Sequence[Question]) -> str:
    """Return a hash of a file; of a folder, that of its images' names, classes and sizes."""
    if not path.is_dir():
        with reading(path):
            return sha256(path.read_bytes()).hexdigest()
    hashed = sha256()
    with reading(path):
        for question in questions:
            facts = [question.id, question.content["answer"], Path(question.where).stat().st_size]
            hashed.update(f"{json.dumps(facts)}\n".encode())
    return hashed.hexdigest()
