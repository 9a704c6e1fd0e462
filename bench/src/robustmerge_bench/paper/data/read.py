"""Read a question file of either form."""

from __future__ import annotations

from pathlib import Path

from .questions import Question, question_of
from .records import records
from .tables import read_table


def read_questions(path: Path) -> list[Question]:
    """Read the questions of a file, in its order; MMBench's files are tables (`tables.py`).

    Raises:
        MergeError: The file is no question file; the message names the question.
    """
    if path.suffix == ".tsv":
        return read_table(path)
    return [question_of(record) for record in records(path)]
