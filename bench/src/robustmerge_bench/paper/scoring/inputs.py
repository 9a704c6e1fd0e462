"""What is to be scored: questions, answers to them, and where the right answers are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robustmerge.errors import MergeError

from ..data.predictions import Prediction
from ..data.questions import Question, text_of
from ..data.records import JsonRecord
from ..tasks import PaperTask

Missing = Literal["refuse", "wrong"]


@dataclass(frozen=True)
class ScoringInput:
    """Everything that one score is made from.

    Attributes:
        task: The task.
        file: The question file.
        questions: The questions, in the order of their file.
        predictions: The answers, in the order of theirs.
        source: The file or folder of references that the user named.
        missing: What to do about questions without an answer: refuse, or count them as wrong.
    """

    task: PaperTask
    file: Path
    questions: list[Question]
    predictions: list[Prediction]
    source: Path | None = None
    missing: Missing = "refuse"

    @property
    def references(self) -> Path | None:
        """The references named by the user, or the first of their usual names by the questions."""
        if self.source:
            return self.source
        places = (self.file.parent / name for name in self.task.references)
        return next((place for place in places if place.exists()), None)

    def required_references(self, otherwise: str = "") -> Path:
        """The references of a task that cannot be scored without.

        Args:
            otherwise: What else the user might do.

        Raises:
            MergeError: There are none.
        """
        found = self.references
        if found is not None:
            return found
        raise MergeError(
            f"the right answers of {self.task.title} are not in its questions",
            where=f"{self.file.parent}: no {' or '.join(self.task.references)}",
            hint=f"name the file or folder that has them: --references PATH{otherwise}",
        )


def right_answer(question: Question, field: str = "answer") -> str:
    """The right answer, as the question's record has it.

    Raises:
        MergeError: It has none, or it is no text.
    """
    return text_of(JsonRecord(question.where, question.content), field)
