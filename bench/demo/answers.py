"""Answer the test questions of every task with every model, several tasks at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from transformers.utils import logging

from robustmerge_bench.mini.student import MiniModel
from robustmerge_bench.mini.tasks import TASKS

Models = Mapping[str, Path | None]
"""An adapter for each name; None for the base model."""


@dataclass(frozen=True)
class TaskAnswers:
    """A model's answers to the questions of a task, and the score of each."""

    answers: list[str]
    scores: np.ndarray

    @property
    def mean(self) -> float:
        """The model's score on the task, 0 to 100."""
        return float(self.scores.mean())


def quiet() -> None:
    """Use one thread, and show no progress bars."""
    # A model of this size gains little from a second thread, and a second process gains all of it.
    torch.set_num_threads(1)
    logging.disable_progress_bar()


def answer_all(
    base: Path, models: Mapping[str, Models], items: int, seed: int, processes: int
) -> Iterator[tuple[str, dict[str, TaskAnswers]]]:
    """Answer with all models, and yield the results of each task as soon as it is done.

    Args:
        base: The base model.
        models: The models of each task, by the task's name.
        items: Questions of a task.
        seed: Of the draw of questions from the test split.
        processes: How many tasks at a time, each with one thread.
    """
    examine = partial(answer_task, base, items=items, seed=seed)
    if processes == 1:
        yield from ((task, examine(task, those)) for task, those in models.items())
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), quiet) as pool:
        jobs = {pool.submit(examine, task, those): task for task, those in models.items()}
        for job in as_completed(jobs):
            yield jobs[job], job.result()


def answer_task(
    base: Path, task: str, models: Models, *, items: int, seed: int
) -> dict[str, TaskAnswers]:
    """Answer one task with its models."""
    mini = load_model(base)
    questions = TASKS[task].items("test", items, seed)
    by_model = {}
    for name, adapter in models.items():
        with mini.using(adapter):
            answers = mini.answer(questions)
        by_model[name] = TaskAnswers(answers, TASKS[task].score(answers, questions))
    return by_model


@cache
def load_model(base: Path) -> MiniModel:
    """Load the base model, once for all tasks of a process."""
    return MiniModel.load(base)
