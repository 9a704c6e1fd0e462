"""All that a task asks, checked before a model is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError

from ..data.embedded import embedded
from ..data.find import find, picture
from ..data.pictures import digest, questions_at
from ..data.questions import Question, text_of
from ..data.records import JsonRecord
from ..tasks import PaperTask
from .engine import Request
from .options import AnsweringOptions
from .prompts import asked, recorded


@dataclass(frozen=True)
class TaskPrompts:
    """One task's questions.

    Attributes:
        task: The task.
        path: The file they are from.
        sha256: Its hash.
        questions: What a model is asked.
        prompts: What is recorded as having been asked.
    """

    task: PaperTask
    path: Path
    sha256: str
    questions: tuple[Request, ...]
    prompts: tuple[str, ...]

    def line(self, number: int, answer: str, model: str) -> str:
        """One line of the file of answers, with the keys of the released scripts.

        Args:
            number: Which question, from 0.
            answer: Its answer.
            model: Name of the model.
        """
        one = self.questions[number]
        identity = json.dumps([model, self.task.name, number, one.id])
        content: Mapping[str, Any] = {
            "question_id": one.id,
            "prompt": self.prompts[number],
            "text": answer,
            "answer_id": sha256(identity.encode()).hexdigest()[:22],
            "model_id": model,
            "metadata": {},
        }
        return json.dumps(content) + "\n"


def read(root: Path, task: PaperTask, options: AnsweringOptions) -> TaskPrompts:
    """A task's questions, with every picture in its place.

    Raises:
        MergeError: A file is missing or wrong; the message names the question.
    """
    found = find(root, task)
    questions = questions_at(found.questions, task)
    if not questions:
        raise MergeError(
            "there are no questions in the file",
            where=str(found.questions),
            hint="it was never filled; fetch it again",
        )
    if not task.repeated_ids:
        _check_ids(questions)
    sha, choices = digest(found.questions, questions), _choices(task, questions)
    within = embedded(questions) if task.kind == "mmbench" else {}
    questions = questions[: options.limit]
    most = options.max_new_tokens or task.max_new_tokens
    return TaskPrompts(
        task,
        found.questions,
        sha,
        tuple(
            Request(
                one.id,
                asked(task, one),
                within.get(one.id) or _picture(found, task, one),
                task.framing,
                most,
                one.where,
                task.name,
                choices,
            )
            for one in questions
        ),
        tuple(recorded(task, one) for one in questions),
    )


def _choices(task: PaperTask, questions: list[Question]) -> tuple[str, ...]:
    """The classes that occur among the answers, of all questions whatever the limit."""
    if task.kind != "label":
        return ()
    return tuple(
        sorted({text_of(JsonRecord(one.where, one.content), "answer") for one in questions})
    )


def _picture(found: Any, task: PaperTask, question: Question) -> Path | None:
    path = picture(found, question)
    if path is None and not task.without_image:
        raise MergeError(
            f"a question of {task.title} without a picture",
            where=f"{question.where}, question {question.id}",
            hint="its record needs an image, which is the path of a file",
        )
    return path


def _check_ids(questions: list[Question]) -> None:
    seen: dict[object, Question] = {}
    for one in questions:
        if one.id in seen:
            raise MergeError(
                f"two questions have the id {one.id!r}",
                where=f"{seen[one.id].where}\n{one.where}",
                hint="answers are matched by id; number the questions anew, in all their files",
            )
        seen[one.id] = one
