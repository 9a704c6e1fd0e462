"""The tasks' questions as lmms-eval wants them: one document each, read from $MM_MERGEBENCH.

A YAML file names its task by the split: the file that lmms-eval's loader reads first is a seed, and
`documents` puts the task's own questions in its place. So ids of any type, missing pictures and
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
    """The questions of the task that the seed's split names, as a data set.

    Raises:
        MergeError: The folder is not named, or a file in it is missing or wrong.
    """
    from datasets import Dataset

    task = TASKS[str(seed.split).replace("_", "-")]
    paper = paper_of(task)
    if RULES[task.kind].counts == "references":  # checked before anything is answered
        inputs_of(task).required_references()
    rows = [
        {
            MARK: task.name,
            "place": place,
            "text": one.text,
            "image": str(one.image or ""),
            "answer": str(question.content.get("answer", "")),
        }
        for place, (one, question) in enumerate(
            zip(paper.questions, questions_of(task), strict=True)
        )
    ]
    return Dataset.from_list(rows, split=seed.split)


def asked(document: Mapping[str, Any]) -> Request:
    """The question that a document is."""
    place: int = document["place"]
    return paper_of(TASKS[document[MARK]]).questions[place]


def text(document: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> str:
    """What is asked, with the instruction and without a mark for the picture."""
    del options
    return asked(document).text


def pictures(
    document: Mapping[str, Any], options: Mapping[str, Any] | None = None
) -> list[Image.Image]:
    """The question's picture, if it has one.

    Args:
        document: The question.
        options: lmms_eval_specific_kwargs; `framing: true` crops or pads as the released scripts
            do, which is for LLaVA-1.5.

    Raises:
        MergeError: It cannot be read.
    """
    one = asked(document)
    if one.image is None:
        return []
    image = open_image(one.image, one.where)
    return [frame_image(image, one.framing) if (options or {}).get("framing") else image]


def paper_of(task: PaperTask) -> TaskPrompts:
    """A task's questions, as a model is asked."""
    return _paper(_root(), task.name)


def questions_of(task: PaperTask) -> list[Question]:
    """A task's questions, with their right answers."""
    return _questions(paper_of(task).path)


def inputs_of(task: PaperTask) -> ScoringInput:
    """What answers of a task are scored by, without answers."""
    paper = paper_of(task)
    return ScoringInput(task, paper.path, questions_of(task), [])


@cache
def _paper(root: Path, name: str) -> TaskPrompts:
    return read_prompts(root, TASKS[name], _DEFAULT)


@cache
def _questions(path: Path) -> list[Question]:
    return read_questions(path)


def _root() -> Path:
    named = os.environ.get(ROOT)
    if not named or not Path(named).is_dir():
        raise MergeError(
            f"${ROOT} is {named!r}, which is no folder" if named else f"${ROOT} is not set",
            hint=f"export {ROOT}=FOLDER names the folder that holds all tasks, as --data of "
            "`robustmerge bench run`",
        )
    return Path(named)
