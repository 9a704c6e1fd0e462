"""The tasks' questions as lmms-eval reads them: one document each, read from $MM_MERGEBENCH.

A YAML file names its task by the split: the file that lmms-eval's loader reads first is a seed, and
`documents` puts the task's own questions in its place. So ids of any type, missing images and
every layout of the data are read by the same code as in `bench run`, and errors name the question.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from robustmerge.collect.processor import open_image
from robustmerge.errors import MergeError

from ..answering.engine import Request
from ..answering.images import frame_image
from ..answering.options import AnsweringOptions
from ..answering.questions import TaskPrompts, read_prompts
from ..data.questions import Question
from ..data.read import read_questions
from ..scoring.inputs import ScoringInput
from ..scoring.rules import RULES
from ..tasks import TASKS, PaperTask

ROOT = "MM_MERGEBENCH"
"""The environment variable that names the folder with the tasks' files."""

MARK = "mm_mergebench"
"""The field of a document that names its task; documents of other tasks have none."""

_DEFAULT = AnsweringOptions()


def documents(seed: Any) -> Any:
    """Return the questions of the task that the seed's split names, as a data set."""
    from datasets import Dataset

    task = TASKS[str(seed.split).replace("_", "-")]
    prompts = prompts_of(task)
    if RULES[task.kind].counts == "references":  # checked before anything is answered
        inputs_of(task).required_references()
    rows = [
        {
            MARK: task.name,
            "place": number,
            "text": request.text,
            "image": str(request.image or ""),
            "answer": str(question.content.get("answer", "")),
        }
        for number, (request, question) in enumerate(
            zip(prompts.questions, questions_of(task), strict=True)
        )
    ]
    return Dataset.from_list(rows, split=seed.split)


def request_of(document: Mapping[str, Any]) -> Request:
    """Return the request for a document's question."""
    number: int = document["place"]
    return prompts_of(TASKS[document[MARK]]).questions[number]


def text(document: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> str:
    """Return the prompt, with the instruction and without a token for the image."""
    del options
    return request_of(document).text


def images(
    document: Mapping[str, Any], options: Mapping[str, Any] | None = None
) -> list[Image.Image]:
    """Return the question's image, if it has one.

    Args:
        document: The question.
        options: lmms_eval_specific_kwargs; `framing: true` crops or pads as the released scripts
            do, which is for LLaVA-1.5.
    """
    request = request_of(document)
    if request.image is None:
        return []
    image = open_image(request.image, request.where)
    return [frame_image(image, request.framing) if (options or {}).get("framing") else image]


def prompts_of(task: PaperTask) -> TaskPrompts:
    """Return a task's questions as requests to a model."""
    return _prompts(_root(), task.name)


def questions_of(task: PaperTask) -> list[Question]:
    """Return a task's questions, with their right answers."""
    return _questions(prompts_of(task).path)


def inputs_of(task: PaperTask) -> ScoringInput:
    """Return the inputs of a task's score, without answers."""
    prompts = prompts_of(task)
    return ScoringInput(task, prompts.path, questions_of(task), [])


@cache
def _prompts(root: Path, name: str) -> TaskPrompts:
    return read_prompts(root, TASKS[name], _DEFAULT)


@cache
def _questions(path: Path) -> list[Question]:
    return read_questions(path)


def _root() -> Path:
    named = os.environ.get(ROOT)
    if not named or not Path(named).is_dir():
        raise MergeError(
            f"${ROOT} is {named!r}, which is not a folder" if named else f"${ROOT} is not set",
            hint=f"export {ROOT}=FOLDER names the folder that holds all tasks, as --data of "
            "`robustmerge bench run`",
        )
    return Path(named)
