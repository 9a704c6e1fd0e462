"""Which samples RELAY needs: a study on the laptop benchmark, scored on validation items.

    python bench/documents/relay_samples.py --root ROOT --out OUT [--cases few,noise]

A merge is made from the first validation items of every seen task (at most 40) and scored on the
validation items from 100 to 179, which no merge is made from. One JSON file is written per case.

    own           32 prompts of each expert's task, at the rank of one expert and at full rank
    few           4, 8 and 16 prompts of each task, at the rank of one expert and at full rank
    masses        token weights without gradients
    noise         noise in the place of images
    contaminated  a quarter of every task's prompts are the next task's
    wrong         every expert gets the next task's prompts
    labels        the samples' correct answers in the place of the experts' own
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import robustmerge
from relay_parts.cases import SEEN
from relay_parts.samples import mixed, next_task, write_items
from robustmerge.threads import limit_threads
from robustmerge_bench.mini.student import MiniModel
from robustmerge_bench.mini.tasks import TASKS

PROMPTS, SCORED = 40, slice(100, 180)


@dataclass(frozen=True)
class Case:
    """One merge of the study.

    Attributes:
        name: The file's name.
        rank: The merge's rank.
        parameters: Parameters of the method.
        foreign: Share of every task's prompts that are the next task's.
    """

    name: str
    rank: str = "input"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    foreign: float = 0.0


CASES: Mapping[str, Sequence[Case]] = {
    "own": [Case("own-input"), Case("own-full", "full")],
    "few": [
        Case(f"few-{n}-{rank}", rank, {"prompts": n, "held_out": 4})
        for n in (8, 4, 16)
        for rank in ("input", "full")
    ],
    "masses": [Case("masses", parameters={"token_weights": "masses"})],
    "noise": [Case("noise", parameters={"images": "noise"})],
    "contaminated": [Case("contaminated", foreign=0.25)],
    "wrong": [Case("wrong", parameters={"prompts": 8}, foreign=1.0)],
    "labels": [Case("labels", parameters={"answers": "samples"})],
}


def main() -> None:
    """Merge and score every case whose file is not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--set", dest="experts", default="shared-0")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for case in [case for name in options.cases.split(",") for case in CASES[name]]:
        file = options.out / f"{options.experts}-{case.name}.json"
        if not file.exists():
            with limit_threads(), TemporaryDirectory() as folder:
                result = run(case, options.root, options.experts, Path(folder))
            file.write_text(json.dumps(result, indent=1))
            print(file.name, result["seen"], result["unseen"], flush=True)


def run(case: Case, root: Path, experts: str, folder: Path) -> dict[str, Any]:
    """Merge and score one case."""
    report = robustmerge.relay(
        [root / "experts" / experts / task for task in SEEN],
        folder / "merged",
        root / "base",
        [write_samples(task, case.foreign, folder / "samples") for task in SEEN],
        rank=case.rank,
        **case.parameters,
    )
    model, scores = MiniModel.load(root / "base"), {}
    with model.using(folder / "merged"):
        for name, task in TASKS.items():
            items = task.items("validation", SCORED.stop)[SCORED]
            scores[name] = float(task.score(model.answer(items), items).mean())
    seen = [scores[name] for name in SEEN]
    unseen = [score for name, score in scores.items() if name not in SEEN]
    return {
        "seen": round(sum(seen) / len(seen), 1),
        "unseen": round(sum(unseen) / len(unseen), 1),
        "scores": scores,
        "tasks": report.facts.record["tasks"],
        "warnings": list(report.warnings),
        "seconds": report.seconds,
    }


def write_samples(task: str, foreign: float, root: Path) -> Path:
    """Write a task's prompts, the first share of every four being the next task's."""
    names = (task, next_task(task))
    own, other = (TASKS[name].items("validation", PROMPTS) for name in names)
    return write_items(mixed(own, other, foreign), root / task)


if __name__ == "__main__":
    main()
