"""Put the test questions of every task to every model, a task at a time, side by side."""

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
"""An adapter for each name; none is the base model."""


@dataclass(frozen=True)
class Sitting:
    """What a model answered to the questions of a task, and the score of each answer."""

    answers: list[str]
    scores: np.ndarray

    @property
    def mean(self) -> float:
        """The model's score on the task, 0 to 100."""
        return float(self.scores.mean())


def quiet() -> None:
    """One thread, and no progress bars."""
    # A model of this size gains little from a second thread, and a second process gains all of it.
    torch.set_num_threads(1)
    logging.disable_progress_bar()


def sit(
    base: Path, models: Mapping[str, Models], items: int, seed: int, processes: int
) -> Iterator[tuple[str, dict[str, Sitting]]]:
    """Examine models, and give out the results of each task as soon as they are there.

    Args:
        base: The base model.
        models: Which models sit each task, by the task's name.
        items: Questions of a task.
        seed: Which questions: of the test split, always.
        processes: How many tasks at a time, each with one thread.
    """
    examine = partial(examined, base, items=items, seed=seed)
    if processes == 1:
        yield from ((task, examine(task, those)) for task, those in models.items())
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), quiet) as pool:
        jobs = {pool.submit(examine, task, those): task for task, those in models.items()}
        for job in as_completed(jobs):
            yield jobs[job], job.result()


def examined(base: Path, task: str, models: Models, *, items: int, seed: int) -> dict[str, Sitting]:
    """What the models make of one task."""
    mini = loaded(base)
    questions = TASKS[task].items("test", items, seed)
    found = {}
    for name, adapter in models.items():
        with mini.using(adapter):
            answers = mini.answer(questions)
        found[name] = Sitting(answers, TASKS[task].score(answers, questions))
    return found


@cache
def loaded(base: Path) -> MiniModel:
    """The base model, loaded once for all tasks of a process."""
    return MiniModel.load(base)
