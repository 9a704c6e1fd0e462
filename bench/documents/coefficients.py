"""Rivals of RELAY that learn a merge's coefficients from the same prompts, on the laptop benchmark.

    python bench/documents/coefficients.py --root ROOT --out OUT [--tune] [--rivals nsc,tara-b]
        [--sets shared-0,independent-0] [--prompts 32] [--items 100]
        [--rates 1e-3,1e-2] [--looks 100,250,500]

NSC (arXiv:2603.26317) and TARA (arXiv:2603.26299), with gradients through the merged model. Prompts
are the first validation items of every seen task without answers: 32 that the coefficients are
learned from, and 8 more that only measure the loss.

With `--tune` every rival is learned at each rate, its own by default, and scored after the steps of
`--looks` by labeled validation items of the seen tasks from 100 on, which favors the rivals.
Without, it is learned at the chosen rate and number of steps, and scored on test items of all
tasks, at the sum of ranks and cut to the rank of one expert, beside task arithmetic at the
coefficient they start from.
One JSON file is written per set and rival; those that are there are left.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load, save_file

import robustmerge
from coefficients_parts.learning import LearningSet
from coefficients_parts.rivals import RIVALS, START
from relay_studies import summary
from robustmerge.factors import Factors
from robustmerge.linalg import fit
from robustmerge.threads import limit_threads
from robustmerge_bench.item import Item
from robustmerge_bench.mini.student import MiniModel
from robustmerge_bench.mini.tasks import SEEN, TASKS

HELD_OUT = 8
LABELED = 100
"""The first validation item with a label that rates and steps are chosen by."""
RANKS = ("full", "input")
ARITHMETIC = "task-arithmetic"
COEFFICIENTS = (0.2, 0.3, 0.4, 0.5, 0.6)
"""Task arithmetic's, to see whether the start is a good one."""


def main() -> None:
    """Learn and score every rival whose file is not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--rivals", default=",".join((ARITHMETIC, *RIVALS)))
    parser.add_argument("--sets", default="shared-0,independent-0")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--rates", default="")
    parser.add_argument("--looks", default="100,250,500")
    options = parser.parse_args()
    rates = [float(rate) for rate in options.rates.split(",") if rate]
    looks = [int(steps) for steps in options.looks.split(",")]
    options.out.mkdir(parents=True, exist_ok=True)
    split, most = (
        ("validation", LABELED + options.items) if options.tune else ("test", options.items)
    )
    tasks = SEEN if options.tune else tuple(TASKS)
    scored = {name: TASKS[name].items(split, most)[-options.items :] for name in tasks}
    for experts in options.sets.split(","):
        missing = [
            (name, file)
            for name in options.rivals.split(",")
            if not (file := options.out / f"{split}-{experts}-{name}.json").exists()
        ]
        with limit_threads(), TemporaryDirectory() as folder:
            study = CoefficientStudy(options.root, experts, options.prompts, scored, Path(folder))
            for name, file in missing:
                rows = list(study.tuned(name, rates, looks) if options.tune else study.scored(name))
                file.write_text(json.dumps(rows, indent=1))
                for row in rows:
                    print(
                        experts, name, {k: v for k, v in row.items() if k != "scores"}, flush=True
                    )


class CoefficientStudy:
    """One set of experts with prompts and items that merges are scored by."""

    def __init__(
        self,
        root: Path,
        experts: str,
        prompts: int,
        items: Mapping[str, Sequence[Item]],
        folder: Path,
    ) -> None:
        base = root / "base"
        folders = [root / "experts" / experts / task for task in SEEN]
        self._folder, self._items, self._judge = folder, items, MiniModel.load(base)
        for rank in RANKS:  # task arithmetic, whose folder the others' updates are put into
            robustmerge.merge(
                folders, folder / rank, method=ARITHMETIC, scale=START, rank=rank, workers=1
            )
        begun = time.process_time()
        self._set = LearningSet(
            MiniModel.load(base, dtype=torch.float32),
            folders,
            folder / "full",
            [TASKS[task].items("validation", prompts + HELD_OUT) for task in SEEN],
            HELD_OUT,
        )
        self._prepared = time.process_time() - begun

    def tuned(
        self, name: str, rates: Sequence[float], looks: Sequence[int]
    ) -> Iterator[dict[str, Any]]:
        """Score a rival at several rates after several numbers of steps, at full rank."""
        if name == ARITHMETIC:
            for value in COEFFICIENTS:
                yield {"coefficient": value, **self._score("full", scale=value / START)}
            return
        rival = RIVALS[name]
        for rate in rates or rival.rates:
            for merge in self._set.learn(rival, rate, looks):
                yield {
                    "rate": rate,
                    "steps": merge.steps,
                    "held_out": merge.held_out,
                    "moved": merge.moved,
                    "cpu_seconds": merge.cpu_seconds,
                    **self._score("full", merge.factors),
                }

    def scored(self, name: str) -> Iterator[dict[str, Any]]:
        """Score a rival as it was chosen, at both ranks."""
        if name == ARITHMETIC:
            for rank in RANKS:
                yield {"rank": rank, **self._score(rank)}
            return
        rival = RIVALS[name]
        (merge,) = self._set.learn(rival, rival.rate, [rival.steps])
        for rank in RANKS:
            yield {
                "rank": rank,
                "rate": rival.rate,
                "steps": merge.steps,
                "held_out": merge.held_out,
                "moved": merge.moved,
                "cpu_seconds": round(merge.cpu_seconds + self._prepared, 1),
                **self._score(rank, merge.factors),
            }

    def _score(
        self, rank: str, updates: Mapping[str, Factors] | None = None, scale: float = 1.0
    ) -> dict[str, Any]:
        adapter = self._folder / rank
        if updates is not None:
            adapter = put(updates, adapter)
        scores = {}
        with self._judge.using(adapter, scale):
            for name, items in self._items.items():
                scores[name] = TASKS[name].score(self._judge.answer(items), items)
        return summary(scores, SEEN)


def put(updates: Mapping[str, Factors], adapter: Path) -> Path:
    """Write an adapter with other updates beside one, cut to its rank by energy; return it."""
    tensors = load((adapter / "adapter_model.safetensors").read_bytes())
    for name, update in updates.items():
        a, b = (f"base_model.model.{name}.lora_{side}.weight" for side in "AB")
        factors, _ = fit(update, len(tensors[a]))
        tensors[a] = factors.A.to(tensors[a].dtype).contiguous()
        tensors[b] = factors.B.to(tensors[b].dtype).contiguous()
    new = adapter.with_name(f"{adapter.name}-learned")
    new.mkdir(exist_ok=True)
    (new / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    save_file(tensors, new / "adapter_model.safetensors", metadata={"format": "pt"})
    return new


if __name__ == "__main__":
    main()
