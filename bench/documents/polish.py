"""Gradient steps after a merge: a row of docs/ours-polish.md on the laptop benchmark.

    python bench/documents/polish.py --root ROOT [--set shared-0] [--polish 300]
        [--method task-arithmetic] [--scale norm-matched] [--rank input]

The prompts are the first validation items of every seen task without their answers, 32 of them
fitted and 8 held out; the scores are of the validation items from 100 to 179, which nothing is made
from.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import robustmerge
from robustmerge.threads import limit_threads
from robustmerge_bench.mini.runs.unlabeled import write_all_samples
from robustmerge_bench.mini.student import MiniModel
from robustmerge_bench.mini.tasks import SEEN, TASKS

PROMPTS, SCORED = 40, slice(100, 180)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--root", type=Path, required=True)
    options.add_argument("--set", default="shared-0")
    options.add_argument("--polish", default="300")
    options.add_argument("--method", default="task-arithmetic")
    options.add_argument("--scale", default="norm-matched")
    options.add_argument("--rank", default="input")
    chosen = options.parse_args()
    items = {name: TASKS[name].items("validation", PROMPTS) for name in SEEN}
    with TemporaryDirectory() as folder, limit_threads():
        report = robustmerge.merge(
            [chosen.root / "experts" / chosen.set / name for name in SEEN],
            Path(folder) / "merged",
            method=chosen.method,
            scale=chosen.scale,
            rank=chosen.rank,
            base=chosen.root / "base",
            samples=write_all_samples(items, SEEN, Path(folder)),
            polish=chosen.polish,
            workers=1,
        )
        scores = score(chosen.root / "base", Path(folder) / "merged")
    seen = float(np.mean([scores[name] for name in SEEN]))
    unseen = float(np.mean([value for name, value in scores.items() if name not in SEEN]))
    print(json.dumps(dict(report.polished.record), indent=2))
    print(f"seen {seen:.1f}, unseen {unseen:.1f}, {report.seconds:.0f} s")
    print({name: round(value, 1) for name, value in scores.items()})


def score(base: Path, adapter: Path) -> dict[str, float]:
    """Return the mean score of every task."""
    model, scores = MiniModel.load(base), {}
    with model.using(adapter):
        for name, task in TASKS.items():
            items = task.items("validation", SCORED.stop)[SCORED]
            scores[name] = float(np.mean(task.score(model.answer(items), items)))
    return scores


if __name__ == "__main__":
    main()
