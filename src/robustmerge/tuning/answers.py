"""Objectives on answers: the merge answers every sample, and a metric compares with the label.

Answers are greedy, by the model in this process or by a server that loads the merge.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from ..collect.samples import Sample
from .labeled import read_tasks, splits_of
from .modeled import SETTINGS, needed_base
from .objective import ObjectiveSetup, Split, take_settings
from .served import AdapterServer

AnswerMetric = Callable[[str, tuple[str, ...]], float]
"""Scores an answer by its references, from 0 to 100."""
Answering = Callable[[Path], AbstractContextManager[Callable[[Sample], str]]]
"""Loads an adapter for the length of a block, in which samples are answered."""


class AnswerObjective:
    """Mean of a metric over a task's answers, from 0 to 100."""

    def __init__(self, name: str, metric: AnswerMetric, setup: ObjectiveSetup) -> None:
        """Read the samples; the base is loaded where no server answers.

        Raises:
            MergeError: no samples, one without an answer, or no base.
        """
        settings = take_settings(setup, SETTINGS)
        self._samples = read_tasks(setup, answered=True)
        self._metric = metric
        self.tasks = tuple(task.name for task in self._samples)
        self.splits = splits_of(self._samples)
        self.facts: dict[str, Any] = {
            "measure": name,
            "base": setup.server or needed_base(setup),
            **settings,
            "samples": {task.name: task.facts for task in self._samples},
        }
        self._answering = _answering(setup, settings)

    def scores(self, adapter: Path, split: Split) -> Generator[tuple[str, float], None, None]:
        """Score one task after the other."""
        with self._answering(adapter) as answer:
            for task in self._samples:
                samples = task.of(split)
                values = [self._metric(answer(s), (s.answer or "",)) for s in samples]
                yield task.name, sum(values) / len(values)


def _answering(setup: ObjectiveSetup, settings: dict[str, str]) -> Answering:
    if setup.server:
        server = AdapterServer(setup.server)
        return partial(server.answering, longest=int(settings["longest"]))
    from .session import ModelSession

    return ModelSession(needed_base(setup), setup.device, settings).answering
