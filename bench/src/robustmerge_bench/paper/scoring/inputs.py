"""The inputs of one score: questions, answers to them, and the location of the right answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robustmerge.errors import MergeError

from ..data.predictions import Prediction
from ..data.questions import Question, text_of
from ..tasks import PaperTask

Missing = Literal["refuse", "wrong"]


@dataclass(frozen=True)
class ScoringInput:
    """The inputs of one score.

    Attributes:
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
        """The references that the user named, or else those next to the questions."""
        if self.source:
            return self.source
        paths = (self.file.parent / name for name in self.task.references)
        return next((path for path in paths if path.exists()), None)

    def required_references(self, otherwise: str = "") -> Path:
        """Return the references of a task that cannot be scored without.

        `otherwise` is another way out, for the hint of the error.
        """
        if path := self.references:
            return path
        raise MergeError(
            f"the right answers of {self.task.title} are not in its questions",
            where=f"{self.file.parent}: no {' or '.join(self.task.references)}",
            hint=f"name the file or folder that has them: --references PATH{otherwise}",
        )


def right_answer(question: Question) -> str:
    """Return the right answer from the question's record."""
    return text_of(question.record, "answer")
