"""All requests of a task, checked before a model is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError

from ..data.embedded import decode_images
from ..data.find import LocatedTask, find, find_image
from ..data.questions import Question, text_of
from ..data.read import hash_questions, load_questions
from ..data.records import JsonRecord
from ..tasks import PaperTask
from .engine import Request
from .options import AnsweringOptions
from .prompts import prompt_text, recorded_prompt


@dataclass(frozen=True)
class TaskPrompts:
    """One task's questions.

    Attributes:
        path: The file of the questions.
        sha256: Its hash.
        questions: The requests to a model.
        prompts: The prompts as recorded next to the answers.
    """

    task: PaperTask
    path: Path
    sha256: str
    questions: tuple[Request, ...]
    prompts: tuple[str, ...]

    def line(self, number: int, answer: str, model: str) -> str:
        """Return the line of question `number`'s answer, with the keys of the released scripts."""
        request = self.questions[number]
        identity = json.dumps([model, self.task.name, number, request.id])
        content: Mapping[str, Any] = {
            "question_id": request.id,
            "prompt": self.prompts[number],
            "text": answer,
            "answer_id": sha256(identity.encode()).hexdigest()[:22],  # short-uuid's length
            "model_id": model,
            "metadata": {},
        }
        return json.dumps(content) + "\n"


def read_prompts(root: Path, task: PaperTask, options: AnsweringOptions) -> TaskPrompts:
    """Read a task's questions, and find every image."""
    located = find(root, task)
    questions = load_questions(located.questions, task)
    if not questions:
        raise MergeError(
            "there are no questions in the file",
            where=str(located.questions),
            hint="the file is empty; download it again",
        )
    if not task.repeated_ids:
        _check_ids(questions)
    sha, choices = hash_questions(located.questions, questions), _choices(task, questions)
    images = decode_images(questions) if task.kind == "mmbench" else {}
    questions = questions[: options.limit]
    requests = (
        Request(
            id=question.id,
            text=prompt_text(task, question),
            image=images.get(question.id) or _image_path(located, task, question),
            framing=task.framing,
            max_new_tokens=options.max_new_tokens or task.max_new_tokens,
            where=question.where,
            task=task.name,
            choices=choices,
        )
        for question in questions
    )
    prompts = tuple(recorded_prompt(task, question) for question in questions)
    return TaskPrompts(task, located.questions, sha, tuple(requests), prompts)


def _choices(task: PaperTask, questions: list[Question]) -> tuple[str, ...]:
    """Return the classes that occur among the answers to all questions, whatever the limit."""
    if task.kind != "label":
        return ()
    records = (JsonRecord(question.where, question.content) for question in questions)
    return tuple(sorted({text_of(record, "answer") for record in records}))


def _image_path(located: LocatedTask, task: PaperTask, question: Question) -> Path | None:
    path = find_image(located, question)
    if path is None and not task.without_image:
        raise MergeError(
            f"a question of {task.title} without an image",
            where=f"{question.where}, question {question.id}",
            hint="its record needs an image, which is the path of a file",
        )
    return path


def _check_ids(questions: list[Question]) -> None:
    seen: dict[object, Question] = {}
    for question in questions:
        if question.id in seen:
            raise MergeError(
                f"two questions have the id {question.id!r}",
                where=f"{seen[question.id].where}\n{question.where}",
                hint="answers are matched by id; number the questions again, in all their files",
            )
        seen[question.id] = question
