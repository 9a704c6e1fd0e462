r"""Merges of some of the laptop benchmark's experts: how methods do on 2 to 8 tasks.

    python bench/documents/subsets.py --root ROOT --sets shared-0,independent-0 \
        --tasks first4,last6,all --ranks full --items 100 drift task-arithmetic@0.5

The last arguments are methods as `robustmerge bench mini run --methods` takes them; @0.5 multiplies
a merge, and @metric, like other names of its --scale, sizes it by a rule. Tasks are the first or
last of the seen ones, in the order of the tables; of `all`, the unseen tasks are asked as well.
Each merge is a line of JSON. One core takes about 5 s for eight experts with 150 items a task, next
to the merge itself. Docs/ours.md names its calls.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from robustmerge_bench.mini.runs.contender import SCALES, Contender
from robustmerge_bench.mini.runs.examine import Examiner, merge_adapters
from robustmerge_bench.mini.runs.folders import base_folder
from robustmerge_bench.mini.runs.world import built_in


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="with base and experts/SET/TASK")
    for name, default in (("sets", "shared-0"), ("tasks", "all"), ("ranks", "full")):
        parser.add_argument(f"--{name}", type=lambda text: text.split(","), default=[default])
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--items", type=int, default=150)
    parser.add_argument("contenders", nargs="+")
    arguments = parser.parse_args()
    world = built_in()
    seen = [name for name, task in world.tasks().items() if task.seen]
    unseen = [name for name in world.tasks() if name not in seen]
    examiner = Examiner(world, base_folder(arguments.root))
    for of, part, rank, text in product(
        arguments.sets, arguments.tasks, arguments.ranks, arguments.contenders
    ):
        tasks = choose(seen, part)
        name, _, size = text.partition("@")
        rule, factor = ("default", float(size or 1)) if size not in SCALES else (size, 1.0)
        contender = replace(Contender.parse(name), rank=rank, scale=rule)
        adapters = [arguments.root / "experts" / of / task for task in tasks]
        with TemporaryDirectory() as folder:
            output = Path(folder) / "merged"
            merge_adapters(adapters, contender, output)
            scores = examiner.scores(
                output,
                factor,
                [*tasks, *unseen] if part == "all" else tasks,
                arguments.split,
                arguments.items,
            )
        means = {task: round(float(values.mean()), 1) for task, values in scores.items()}
        row = {"set": of, "tasks": part, "rank": rank, "contender": text}
        print(json.dumps(row | summary(means, tasks) | {"scores": means}), flush=True)


def choose(seen: Sequence[str], part: str) -> list[str]:
    """Return the tasks that first4, last6 or all means."""
    if part == "all":
        return list(seen)
    if part.startswith("first"):
        return list(seen[: int(part.removeprefix("first"))])
    return list(seen[-int(part.removeprefix("last")) :])


def summary(means: dict[str, float], tasks: Sequence[str]) -> dict[str, object]:
    """Return the averages over merged and over other tasks, and the least of the merged."""
    merged = [means[task] for task in tasks]
    others = [mean for task, mean in means.items() if task not in tasks]
    least = min(tasks, key=means.__getitem__)
    return {
        "seen": round(float(np.mean(merged)), 1),
        "unseen": round(float(np.mean(others)), 1) if others else None,
        "least": f"{least} {means[least]}",
    }


if __name__ == "__main__":
    main()
