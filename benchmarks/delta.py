"""Merges of whole deltas, module by module, next to an earlier state of the code.

    git worktree add /tmp/before COMMIT
    python benchmarks/delta.py --before /tmp/before/src

One module of either kind of LLaVA-7B, 8 adapters of rank 16: the seconds a processor spends on the
merge and on the cut to rank 16. Processor time counts, and not the clock, so that what else runs
matters little; before and after take turns. A model is 128 modules of 4096 x 4096 and 96 of
4096 x 11008, on two cores; reading, writing and hashing come on top, 2 seconds. The floor is one
product B A of every adapter in the same bands, and nothing else. Writes results/delta.json, from
which `benchmarks/methods.py --write` makes docs/costs.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from time import thread_time
from typing import Any

import torch

import llava7b
from merge import machine

HERE = Path(__file__).parent
SHAPES = {"square": (4096, 4096), "wide": (4096, 11008)}
MODULES = {"square": 128, "wide": 96}
CORES = 2
METHODS = (
    "emr-unified",
    "magmax",
    "consensus",
    "dare",
    "sce",
    "ram",
    "magnitude-prune",
    "dare-ties",
    "ties",
    "breadcrumbs",
    "della",
    "pcb",
)
FLOOR = "floor"

Seconds = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="the folder src of an earlier state")
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "KIND"), help="measure this only")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "delta.json")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    rows: list[dict[str, Any]] = []
    for name in (FLOOR, *METHODS):
        row: dict[str, Any] = {"method": name}
        for kind in SHAPES:
            if arguments.before and name != FLOOR:
                row.setdefault("before", {})[kind] = in_process(name, kind, arguments.before)
            row.setdefault("after", {})[kind] = in_process(name, kind, HERE.parent / "src")
        rows.append(row)
        print(json.dumps(row), flush=True)
    results = {"machine": machine(), "rows": rows}
    arguments.results.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def in_process(name: str, kind: str, source: Path) -> Seconds:
    """Measure in a process of its own, on this source."""
    command = [sys.executable, str(HERE / "delta.py"), "--one", name, kind]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    measured: Seconds = json.loads(done.stdout)
    return measured


def measure(name: str, kind: str) -> Seconds:
    """Return the seconds of a merge and of its cut, the better of two rounds."""
    from robustmerge import methods
    from robustmerge.factors import Factors, Stack, noted
    from robustmerge.linalg import fit

    torch.set_num_threads(1)
    torch.empty(31 << 20, dtype=torch.uint8)  # as in robustmerge.threads
    drawn = [llava7b.draw(SHAPES[kind], task, 0) for task in range(8)]
    stack = Stack.of([Factors(A.float(), B.float() * 2) for A, B in drawn])
    if name == FLOOR:
        return {"merge": min(multiply(stack.factors) for _ in range(2)), "cut": 0.0}
    method = methods.get(name)
    settings = method.configure({"space": "delta"})
    rounds: list[Seconds] = []
    for _ in range(2):
        start = thread_time()
        update = noted(method(stack, **settings)).update
        merged = thread_time()
        fit(update, llava7b.RANK)
        rounds.append({"merge": merged - start, "cut": thread_time() - merged})
        del update
    return {part: min(taken[part] for taken in rounds) for part in ("merge", "cut")}


def multiply(factors: Any) -> float:
    """Return the seconds of one product of every adapter, by bands of rows."""
    d_out, d_in = factors[0].shape
    height = (1 << 17) // d_in
    product = torch.empty(height, d_in)
    start = thread_time()
    for top in range(0, d_out - height + 1, height):
        for f in factors:
            torch.mm(f.B[top : top + height], f.A, out=product)
    return thread_time() - start


def whole(seconds: dict[str, Seconds]) -> float:
    """Return the seconds of a 7B on two cores, from those of its kinds of modules."""
    return sum(sum(seconds[kind].values()) * MODULES[kind] for kind in SHAPES) / CORES


def markdown(results: dict[str, Any]) -> str:
    """Return the table for docs/costs.md."""
    floor = whole(results["rows"][0]["after"])
    text = HEAD.format(floor=floor)
    for row in results["rows"][1:]:
        after, before = whole(row["after"]), row.get("before")
        cut = sum(row["after"][k]["cut"] * MODULES[k] for k in SHAPES) / CORES
        ratio = f"{whole(before):.0f} | {whole(before) / after:.1f}" if before else "| "
        text += f"| {row['method']} | {ratio} | {after:.0f} | {cut:.0f} | {after / floor:.1f} |\n"
    return text


HEAD = """
## Merges of whole deltas

By `benchmarks/delta.py --before`: processor seconds of single modules, times the 224 of a 7B, on
two cores; before is version 172c731 in turns with today's. One product B A of every adapter, which
no entry-wise method can do without, is {floor:.0f} s by the same measure. Cut is the part of the
total that goes into the cut to rank 16.

| method | before, s | x | total, s | cut, s | x one product |
| --- | ---: | ---: | ---: | ---: | ---: |
"""


if __name__ == "__main__":
    main()
