"""What RELAY needs of its samples: studies on the laptop benchmark, scored on test items.

    python bench/documents/relay_studies.py --root ROOT --out OUT [--cases own,wordings]
        [--set shared-0] [--prompts 32] [--items 100]

Prompts are the first validation items of every seen task, without answers: 32 that a merge is made
from, and 8 more that measure it. Merges are at the rank of one expert but for `full`. One JSON file
is written per case, with averages, their standard errors over items, and processor time; those that
are there are left.

    references    base, experts on their own tasks and DRIFT, in all wordings of the instructions
    own           every expert's own prompts, asked in all wordings
    few, many     8, 4 and 16, and 100 prompts a task
    contaminated  a quarter, an eighth and a sixteenth of every task's prompts are the next task's;
                  all of one task's (ocr), or of every task, 8 each
    wordings      prompts with three instructions a task, asked with the first and with a fourth
    shared        two tasks with one prompt (viz, flk), and with one instruction (vqa, ico)
    without       one expert has no samples: left out, or merged with the result afterwards
    full          the sum of ranks
    masses        token weights without gradients
    noise         noise in the place of images
    labels        the samples' correct answers in the place of the experts' own
    anchors       the base as a ninth expert with generic prompts, at the weight 1 and 0.1
    draws         other prompts: validation items from 40 and from 80
    tasks         the first two, four and six experts
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import robustmerge
from relay_parts.anchors import generic_items, write_unchanged
from relay_parts.cases import CASES, SEEN, RelayCase
from relay_parts.samples import mixed, next_task, write_items
from relay_parts.wordings import WORDINGS
from robustmerge.threads import limit_threads
from robustmerge_bench.mini.student import MiniModel
from robustmerge_bench.mini.tasks import TASKS

HELD_OUT = 8
REFERENCES = "references"
_QUESTIONS = [name for name in WORDINGS if name != "varied"]


def main() -> None:
    """Merge and score every case whose file is not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", default=",".join((REFERENCES, *CASES)))
    parser.add_argument("--set", dest="experts", default="shared-0")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--items", type=int, default=100)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    study = RelayStudy(options.root, options.experts, options.prompts, options.items)
    for group in options.cases.split(","):
        for case in CASES.get(group, [None]):
            name = case.name if case else REFERENCES
            file = options.out / f"{options.experts}-{name}.json"
            if file.exists():
                continue
            with limit_threads(), TemporaryDirectory() as folder:
                result = study.run(case, Path(folder)) if case else study.references(Path(folder))
            file.write_text(json.dumps(result, indent=1))
            for wording, row in result["results"].items():
                print(name, wording, row["seen"], row["unseen"], flush=True)


class RelayStudy:
    """The base with its items, and one set of experts."""

    def __init__(self, root: Path, experts: str, prompts: int, items: int) -> None:
        self.base = root / "base"
        self.experts = {task: root / "experts" / experts / task for task in SEEN}
        self.model, self.prompts = MiniModel.load(self.base), prompts
        self.items = {name: task.items("test", items) for name, task in TASKS.items()}

    def run(self, case: RelayCase, folder: Path) -> dict[str, Any]:
        """Merge and score one case."""
        case = replace(case, prompts=case.prompts or self.prompts)
        start, merged = time.process_time(), folder / "merged"
        adapters = [self.experts[task] for task in case.sampled]
        samples = [write_samples(case, task, folder / "samples") for task in case.sampled]
        weights = [1.0] * len(adapters)
        if case.anchor:
            adapters.append(write_unchanged(adapters[0], folder / "base"))
            samples.append(write_anchors(case, folder / "samples"))
            weights.append(case.anchor)
        report = robustmerge.relay(
            adapters,
            merged,
            self.base,
            samples,
            weights=weights,
            missing="zero" if case.anchor else "refuse",
            rank=case.rank,
            prompts=case.prompts,
            **case.parameters,
        )
        seconds = time.process_time() - start
        results = {wording: self.scored(merged, wording, case.tasks) for wording in case.questions}
        for method in case.then:
            both = [merged, self.experts[case.without]]
            robustmerge.merge(both, folder / method, method=method, same_base=True)
            results[f"then {method}"] = self.scored(folder / method, "own", case.tasks)
        return {
            "results": results,
            "tasks": report.facts.record["tasks"],
            "warnings": list(report.warnings),
            "cpu_seconds": round(seconds, 1),
        }

    def references(self, folder: Path) -> dict[str, Any]:
        """Score the base, every expert on its own task, and DRIFT."""
        robustmerge.merge(list(self.experts.values()), folder / "drift", method="drift")
        results: dict[str, Any] = {}
        for wording in _QUESTIONS:
            results[f"base, {wording}"] = self.scored(None, wording, SEEN)
            results[f"drift, {wording}"] = self.scored(folder / "drift", wording, SEEN)
            scores: dict[str, np.ndarray] = {}
            for task, expert in self.experts.items():
                scores |= self.scores(expert, wording, [task])
            results[f"experts, {wording}"] = summary(scores, SEEN)
        return {"results": results}

    def scored(self, adapter: Path | None, wording: str, tasks: Sequence[str]) -> dict[str, Any]:
        """Return averages over merged and unseen tasks, which have one wording only."""
        unseen = [name for name in TASKS if name not in SEEN and wording == "own"]
        return summary(self.scores(adapter, wording, [*tasks, *unseen]), tasks)

    def scores(
        self, adapter: Path | None, wording: str, tasks: Iterable[str]
    ) -> dict[str, np.ndarray]:
        """Return the scores [item] of each task."""
        scores = {}
        with self.model.using(adapter):
            for name in tasks:
                items = [WORDINGS[wording](item, n) for n, item in enumerate(self.items[name])]
                scores[name] = TASKS[name].score(self.model.answer(items), items)
        return scores


def summary(scores: Mapping[str, np.ndarray], merged: Sequence[str]) -> dict[str, Any]:
    """Return averages with their standard errors over items, and each task's."""
    others = [task for task in scores if task not in merged]
    return {
        "seen": _average([scores[task] for task in merged]),
        "unseen": _average([scores[task] for task in others]) if others else None,
        "scores": {task: round(float(of.mean()), 1) for task, of in scores.items()},
    }


def _average(scores: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the mean over tasks and its standard error over items."""
    mean = np.mean([of.mean() for of in scores])
    error = np.sqrt(sum(of.var(ddof=1) / len(of) for of in scores)) / len(scores)
    return round(float(mean), 1), round(float(error), 1)


def write_samples(case: RelayCase, task: str, root: Path) -> Path:
    """Write a task's prompts, the first of every so many being the next task's."""
    own, other = (
        TASKS[name].items("validation", case.first + case.prompts + HELD_OUT)[case.first :]
        for name in (task, next_task(task))
    )
    items = mixed(own, other, case.foreign if task in case.spoiled else 0)
    reword = WORDINGS[case.wording]
    return write_items((reword(item, number) for number, item in enumerate(items)), root / task)


def write_anchors(case: RelayCase, root: Path) -> Path:
    """Write as many generic prompts as every task has."""
    return write_items(generic_items(case.prompts + HELD_OUT), root / "generic")


if __name__ == "__main__":
    main()
