"""Measures for `robustmerge tune`: metrics on samples of one's own, and the laptop benchmark.

exact-match, letter-match, box-match, sentence-score
                mean over a task's --samples, whose answers are the references
mini            tasks of the laptop benchmark: mini:root=FOLDER,items=100,test=200
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError
from robustmerge.tuning.answers import AnswerMetric, AnswerObjective
from robustmerge.tuning.objective import (
    Objective,
    ObjectiveSetup,
    Split,
    objective,
    take_settings,
)

from . import metrics

METRICS: Mapping[str, tuple[AnswerMetric, str]] = {
    "exact-match": (metrics.exact_match, "the same words, on --samples"),
    "letter-match": (metrics.letter_match, "the same option's letter, on --samples"),
    "box-match": (metrics.box_match, "boxes that overlap by more than half, on --samples"),
    "sentence-score": (metrics.sentence_score, "BLEU and ROUGE-L of captions, on --samples"),
}
_MINI = {"root": "", "items": "100", "test": "200"}
_SPLITS: Mapping[Split, tuple[str, str]] = {
    "tuning": ("validation", "items"),
    "held-out": ("test", "test"),
}
"""The benchmark's split for each part, and the setting that counts its items."""


def _register(name: str, metric: AnswerMetric, meaning: str) -> None:
    def build(setup: ObjectiveSetup) -> Objective:
        return AnswerObjective(name, metric, setup)

    objective(name, meaning)(build)


for _name, (_metric, _meaning) in METRICS.items():
    _register(_name, _metric, _meaning)


class MiniObjective:
    """Mean scores on the seen tasks: validation items for the search, test items for its report."""

    splits: tuple[Split, ...] = ("tuning", "held-out")

    def __init__(self, root: Path, counts: Mapping[str, int]) -> None:
        """Load the base of a trained benchmark.

        Args:
            root: Folder of the training, or of an artifact.
            counts: `items` of validation and `test` items per task.

        Raises:
            MergeError: no base in the folder.
        """
        from .mini.runs.examine import Examiner
        from .mini.runs.folders import base_folder, hash_of_base
        from .mini.runs.plan import hash_of_world
        from .mini.runs.world import built_in

        world, base = built_in(), base_folder(root)
        every = world.tasks()
        self.tasks = tuple(name for name, task in every.items() if task.seen)
        self.facts: dict[str, Any] = {
            "measure": "mini",
            "base": hash_of_base(base),
            "world": hash_of_world(every),
            **counts,
        }
        self._counts = counts
        self._scores: Callable[..., Mapping[str, Any]] = Examiner(world, base).scores

    def scores(self, adapter: Path, split: Split) -> Generator[tuple[str, float], None, None]:
        """Score one task after the other."""
        named, counted = _SPLITS[split]
        for task in self.tasks:
            answered = self._scores(adapter, 1.0, [task], named, self._counts[counted])
            yield task, float(answered[task].mean())


@objective("mini", "seen tasks of the laptop benchmark: mini:root=FOLDER,items=100,test=200")
def make_mini(setup: ObjectiveSetup) -> Objective:
    """Read the settings.

    Raises:
        MergeError: no root, a server, or counts that are no whole numbers.
    """
    settings = take_settings(setup, _MINI)
    bad = partial(MergeError, where="--measure mini", hint="mini:root=FOLDER,items=100,test=200")
    if not settings["root"]:
        raise bad("no folder of a trained benchmark")
    if setup.server:
        raise bad("the laptop benchmark answers by itself, and not by a server")
    counts = {name: settings[name] for name in ("items", "test")}
    for name, count in counts.items():
        if not count.isdecimal() or int(count) < 1:
            raise bad(f"{name} is {count!r}, which is no number of items")
    return MiniObjective(Path(settings["root"]), {n: int(c) for n, c in counts.items()})
