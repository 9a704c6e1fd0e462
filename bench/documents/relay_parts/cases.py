"""The merges of the studies of RELAY's samples, in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robustmerge_bench.mini.tasks import TASKS

SEEN = tuple(name for name, task in TASKS.items() if task.seen)


@dataclass(frozen=True)
class RelayCase:
    """One merge.

    Attributes:
        name: The file's name.
        tasks: Whose experts are merged.
        without: A seen task whose expert has no samples; it is merged with the result by `then`.
        then: Methods for that; none leaves the expert out.
        prompts: Prompts a task; 0 for the study's own number.
        first: The first validation item of the prompts.
        foreign: Share of prompts that are the next task's.
        spoiled: The tasks with foreign prompts.
        wording: Of the prompts, a key of WORDINGS.
        questions: Of the test items.
        rank: The merge's rank.
        anchor: Weight of the base as one more expert, with generic prompts; 0 for none.
        parameters: Further parameters of the method.
    """

    name: str
    tasks: tuple[str, ...] = SEEN
    without: str = ""
    then: tuple[str, ...] = ()
    prompts: int = 0
    first: int = 0
    foreign: float = 0.0
    spoiled: tuple[str, ...] = SEEN
    wording: str = "own"
    questions: tuple[str, ...] = ("own",)
    rank: str = "input"
    anchor: float = 0.0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sampled(self) -> tuple[str, ...]:
        """The tasks whose experts RELAY merges."""
        return tuple(task for task in self.tasks if task != self.without)


def _contaminated(share: float) -> RelayCase:
    return RelayCase(f"contaminated-{share}", foreign=share)


def _without(task: str) -> RelayCase:
    return RelayCase(f"without-{task}", without=task, then=("task-arithmetic", "drift"))


CASES: Mapping[str, Sequence[RelayCase]] = {
    "own": [RelayCase("own", questions=("own", "held-out", "captions", "words"))],
    "few": [RelayCase(f"prompts-{n}", prompts=n) for n in (8, 4, 16)],
    "many": [RelayCase("prompts-100", prompts=100)],
    "contaminated": [
        _contaminated(1 / 4),
        _contaminated(1 / 8),
        _contaminated(1 / 16),
        RelayCase("contaminated-ocr", foreign=1.0, spoiled=("ocr",)),
        RelayCase("wrong", foreign=1.0, prompts=8),
    ],
    "wordings": [RelayCase("varied", wording="varied", questions=("own", "held-out"))],
    "shared": [
        RelayCase("captions", wording="captions", questions=("captions",)),
        RelayCase("words", wording="words", questions=("words",)),
    ],
    "without": [_without("ocr"), _without("vqa")],
    "full": [RelayCase("full", rank="full")],
    "masses": [RelayCase("masses", parameters={"token_weights": "masses"})],
    "noise": [RelayCase("noise", parameters={"images": "noise"})],
    "labels": [RelayCase("labels", parameters={"answers": "samples"})],
    "draws": [RelayCase("draw-2", first=40), RelayCase("draw-3", first=80)],
    "anchors": [RelayCase(f"anchor-{weight}", anchor=weight) for weight in (1, 0.1)],
    "tasks": [RelayCase(f"first-{n}", tasks=SEEN[:n]) for n in (2, 4, 6)],
}
