"""How long it takes to diagnose adapters of LLaVA-7B's shapes, and how much memory.

    python benchmarks/diagnose.py [FOLDER] [--layers 32]

Adapters alone, with a merge at input rank, and with one at full rank, compared with reading the
inputs and bringing each module's factors into memory, in turns on the same files. Only ratios mean
something: absolute times depend on the machine and its load. Memory is measured in a process of its
own, for half of the layers and for all, since it must not grow with them by more than rows.
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
from processes import peak, start_ready

REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".bench"))
    parser.add_argument("--layers", type=int, default=32, help="of 32, for a quicker run")
    parser.add_argument("--watched", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.watched:
        diagnose_watched(arguments.watched)
        return
    adapters = llava7b.adapters(arguments.folder, layers=arguments.layers)
    merges = make_merges(adapters, arguments.folder / f"diagnosed-{arguments.layers}")
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
            seconds = timed(run)
            least[name] = min(least.get(name, seconds), seconds)
    show(least, 7 * arguments.layers)
    half = llava7b.adapters(arguments.folder, layers=arguments.layers // 2)
    for folders, layers in ((half, arguments.layers // 2), (adapters, arguments.layers)):
        with start_ready("diagnose.py", "--watched", *map(str, folders)) as process:
            print(f"memory, {7 * layers} modules: {peak(process):.0f} MB")


def make_merges(adapters: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Return a merge at input rank and one at full rank."""
    settings = {"a merge of rank 16": ("robustmerge", 16), "a merge of rank 128": ("tsv-m", "full")}
    outputs = {}
    for name, (method, rank) in settings.items():
        outputs[name] = folder / method
        if not outputs[name].is_dir():
            folder.mkdir(exist_ok=True)
            robustmerge.merge(adapters, outputs[name], method=method, rank=rank)
    return outputs


def read(adapters: Sequence[Path]) -> None:
    """Bring every factor into memory once, as the diagnosis has to."""
    for folder in adapters:
        adapter = robustmerge.load(folder)
        for name in adapter.modules:
            adapter.factors(name)
        adapter.close()


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Run it, and return seconds by the clock and of the processor."""
    start, cpu = perf_counter(), process_time()
    run()
    return perf_counter() - start, process_time() - cpu


def diagnose_watched(adapters: Sequence[str]) -> None:
    """Diagnose after a line of input, while another process measures this one."""
    from robustmerge.diagnosis import run  # not measured

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
