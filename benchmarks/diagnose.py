"""How long it takes to diagnose adapters of LLaVA-7B's shapes, and how much memory.

    python benchmarks/diagnose.py [FOLDER] [--layers 32]

Adapters alone, with a merge at input rank, and with one at full rank, beside reading the inputs and
bringing each module's factors into memory, in turns on the same files. Only ratios mean something:
absolute times depend on the machine and on what else runs on it. Memory is measured in a process
of its own, for half of the layers and for all, since it must not grow with them by more than rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time

from rich.console import Console
from rich.table import Table

import llava7b
import robustmerge
from processes import peak, started

REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("bench"))
    parser.add_argument("--layers", type=int, default=32, help="of 32, for a quicker run")
    parser.add_argument("--watched", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.watched:
        watched(given.watched)
        return
    adapters = llava7b.adapters(given.folder, layers=given.layers)
    merges = merged(adapters, given.folder / f"diagnosed-{given.layers}")
    runs: dict[str, Callable[[], object]] = {
        "read the inputs": lambda: read(adapters),
        "adapters": lambda: robustmerge.diagnose(adapters),
        **{
            f"adapters, {name}": lambda out=out: robustmerge.diagnose(adapters, [out])
            for name, out in merges.items()
        },
    }
    least: dict[str, tuple[float, float]] = {}
    for _ in range(REPEATS):
        for name, run in runs.items():
            found = timed(run)
            least[name] = min(least.get(name, found), found)
    show(least, 7 * given.layers)
    half = llava7b.adapters(given.folder, layers=given.layers // 2)
    for folders, layers in ((half, given.layers // 2), (adapters, given.layers)):
        with started("diagnose.py", "--watched", *map(str, folders)) as process:
            print(f"memory, {7 * layers} modules: {peak(process):.0f} MB")


def merged(adapters: Sequence[Path], folder: Path) -> dict[str, Path]:
    """A merge at input rank and one at full rank."""
    asked = {"a merge of rank 16": ("robustmerge", 16), "a merge of rank 128": ("tsv-m", "full")}
    made = {}
    for name, (method, rank) in asked.items():
        made[name] = folder / method
        if not made[name].is_dir():
            folder.mkdir(exist_ok=True)
            robustmerge.merge(adapters, made[name], method=method, rank=rank)
    return made


def read(adapters: Sequence[Path]) -> None:
    """Bring every factor into memory once, as the diagnosis has to."""
    for folder in adapters:
        adapter = robustmerge.load(folder)
        for name in adapter.modules:
            adapter.factors(name)
        adapter.close()


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    start, cpu = perf_counter(), process_time()
    run()
    return perf_counter() - start, process_time() - cpu


def watched(adapters: Sequence[str]) -> None:
    """Diagnose when told to, for another process to watch."""
    from robustmerge.diagnosis import run  # imports are no part of it

    assert run
    print("ready", flush=True)
    sys.stdin.readline()
    json.dumps(robustmerge.diagnose(adapters).to_dict())


def show(least: dict[str, tuple[float, float]], modules: int) -> None:
    table = Table(title=f"{modules} modules, 8 adapters of rank 16, best of {REPEATS}, seconds")
    for heading in ("", "wall", "x reading", "CPU", "x reading"):
        table.add_column(heading, justify="right" if heading else "left")
    wall, cpu = least["read the inputs"]
    for name, (seconds, used) in least.items():
        row = (f"{seconds:.2f}", f"{seconds / wall:.0f}", f"{used:.2f}", f"{used / cpu:.0f}")
        table.add_row(name, *row)
    Console().print(table)


if __name__ == "__main__":
    main()
