"""Merges of whole deltas, module by module, next to an earlier state of the code.

    git worktree add /tmp/before COMMIT
    python benchmarks/delta.py --before /tmp/before/src

One module of either kind of LLaVA-7B, 8 adapters of rank 16: the seconds a processor spends on the
merge and on the cut to rank 16. Processor time counts, and not the clock, so that what else runs
matters little; before, on 4096 x 4096 alone, and after run at the same time. A model is 128 modules
of 4096 x 4096 and 96 of 4096 x 11008, on two cores; reading, writing and hashing come on top, 2
seconds. The floor is one product B A of every adapter in bands of rows, and nothing else. Writes
results/delta.json, from which `benchmarks/methods.py --write` makes docs/costs.md.
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
_SHORT = 3.0
"""Seconds of a merge up to which a second round is taken."""
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
    parser.add_argument("--kind", choices=tuple(SHAPES), help="measure this kind, in this process")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "delta.json")
    arguments = parser.parse_args()
    if arguments.kind:
        print(json.dumps({name: measure(name, arguments.kind) for name in (FLOOR, *METHODS)}))
        return
    source = HERE.parent / "src"
    started = {("after", kind): start(kind, source) for kind in SHAPES}
    if arguments.before:
        started["before", "square"] = start("square", arguments.before)
    results: dict[str, Any] = {"machine": machine(), "before": {}, "after": {}}
    for (state, kind), process in started.items():
        results[state][kind] = json.loads(process.communicate()[0])
    arguments.results.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def start(kind: str, source: Path) -> subprocess.Popen[str]:
    """Start measuring modules of a kind in a process of its own, on this source."""
    command = [sys.executable, str(HERE / "delta.py"), "--kind", kind]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def measure(name: str, kind: str) -> Seconds:
    """Return the seconds of a merge and of its cut, the better of two rounds if they are short."""
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
    while not rounds or (len(rounds) < 2 and rounds[0]["merge"] < _SHORT):
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


def whole(after: dict[str, dict[str, Seconds]], name: str, *parts: str) -> float:
    """Return the seconds of a 7B on two cores, from those of its kinds of modules."""
    return sum(after[k][name][part] * n for k, n in MODULES.items() for part in parts) / CORES


def markdown(results: dict[str, Any]) -> str:
    """Return the table for docs/costs.md."""
    before, after = results["before"].get("square", {}), results["after"]
    floor = whole(after, FLOOR, "merge")
    head = HEAD.format(floor=floor, before=BEFORE if before else "")
    text = head + (COLUMNS if before else COLUMNS_OF_ONE)
    for name in METHODS:
        square = sum(after["square"][name].values())
        earlier = sum(before[name].values()) if before else 0.0
        total, cut = whole(after, name, "merge", "cut"), whole(after, name, "cut")
        gain = f"| {earlier:.2f} | {square:.2f} | {earlier / square:.1f} " if before else ""
        text += f"| {name} {gain or f'| {square:.2f} '}"
        text += f"| ~{total:.0f} | {cut:.0f} | {total / floor:.1f} |\n"
    return text


HEAD = """
## Merges of whole deltas

By `benchmarks/delta.py`: processor seconds of one module of 4096 x 4096 with its cut to rank
16{before};
and of the 224 modules of a 7B on two cores, from one module of either shape. One product B A of
every adapter, which no entry-wise method can do without, is {floor:.0f} s by the same measure.
Other programs that run at the same time slow memory down.

"""
BEFORE = ", before\n(`--before`, version 172c731) and today, at the same time"
COLUMNS = """\
| method | a module before, s | today, s | x | 7B, s | of that cuts, s | x one product |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
"""
COLUMNS_OF_ONE = """\
| method | a module, s | 7B, s | of that cuts, s | x one product |
| --- | ---: | ---: | ---: | ---: |
"""


if __name__ == "__main__":
    main()
