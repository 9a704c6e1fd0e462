"""Time and memory of merging adapters of LLaVA-7B's shapes: `make bench`.

Measured in turns on the same files, each time in a new process and with the files in the page
cache: the least any merge has to do (read the inputs, write an adapter), the released arithmetic
written plainly in PyTorch, and this package. Times are without imports, except for the command's.
Only ratios mean something: absolute times depend on the machine and on what else runs on it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table

import llava7b
from contenders import remove
from processes import peak, start_ready

HERE = Path(__file__).parent
COMMAND = "robustmerge merge --method robustmerge"
ROWS = {
    "limit": "least: read, write",
    "floor": "  hash, convert, 2 threads",
    "robustmerge": "robustmerge",
    COMMAND: "  as a command, with imports",
    "released": "released arithmetic, PyTorch",
    "task_arithmetic": "task-arithmetic at rank 16",
}
Measured = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".bench"))
    parser.add_argument("--layers", type=int, default=32, help="of 32, for a quicker run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "merge.json")
    arguments = parser.parse_args()
    adapters = llava7b.adapters(arguments.folder, layers=arguments.layers)
    for folder in adapters:  # into the page cache
        (folder / "adapter_model.safetensors").read_bytes()
        llava7b.pickled(folder).read_bytes()
    results = {
        "machine": machine(),
        "command": " ".join(["benchmarks/merge.py", *sys.argv[1:]]),
        "adapters": len(adapters),
        "megabytes": sum(map(llava7b.size, adapters)) / 1e6,
        "seconds": run_rounds(adapters, arguments.folder, arguments.repeats),
        "memory_megabytes": memory(adapters, arguments.folder),
        "one_module_seconds": per_module(adapters),
        "load_after": os.getloadavg(),
    }
    arguments.results.parent.mkdir(exist_ok=True)
    arguments.results.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    show(results)


def machine() -> dict[str, Any]:
    packages = ("robustmerge", "torch", "numpy", "safetensors", "peft")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "load_before": os.getloadavg(),
    }


def run_rounds(adapters: list[Path], folder: Path, repeats: int) -> dict[str, list[Measured]]:
    """Run every contender in turn, several times over."""
    measured: dict[str, list[Measured]] = defaultdict(list)
    for _ in range(repeats):
        for name in ROWS:
            output = folder / f"merged-{name.replace(' ', '-')}"
            remove(output)
            run = run_command if name == COMMAND else run_once
            measured[name].append(run(name, adapters, output))
            remove(output)
    return dict(measured)


def run_once(name: str, adapters: list[Path], output: Path) -> Measured:
    """Run a contender once, in a new process."""
    with _start(name, adapters, output) as process:
        answer, _ = process.communicate("go\n")
    if process.returncode:
        raise SystemExit(f"{name} failed")
    measured: Measured = json.loads(answer)
    return measured


def run_command(name: str, adapters: list[Path], output: Path) -> Measured:
    """Run the command once, imports included."""
    arguments = [sys.executable, "-m", *name.split(), *map(str, adapters), "-o", str(output)]
    before, start = _cpu_of_children(), perf_counter()
    subprocess.run(arguments, check=True, capture_output=True)
    # What it spends on flushing to the disk is not seen from outside.
    return {"wall": perf_counter() - start, "cpu": _cpu_of_children() - before, "sync": 0.0}


def memory(adapters: list[Path], folder: Path) -> dict[str, float]:
    """Return peaks of memory beyond what the imports take, by contender and number of adapters."""
    if not Path("/proc/self/status").exists():
        return {}
    runs = [("robustmerge", 2), ("robustmerge", 4), ("robustmerge", 8), ("task_arithmetic", 8)]
    return {
        f"{name}, {count} adapters": _peak(name, adapters[:count], folder / "merged-memory")
        for name, count in [*runs, ("released", 8)]
    }


def _peak(name: str, adapters: list[Path], output: Path) -> float:
    remove(output)
    with _start(name, adapters, output) as process:
        megabytes = peak(process)
    remove(output)
    return megabytes


def _start(name: str, adapters: list[Path], output: Path) -> subprocess.Popen[str]:
    return start_ready("contenders.py", name, str(output), *map(str, adapters))


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def per_module(adapters: list[Path]) -> Measured:
    arguments = [sys.executable, str(HERE / "per_module.py"), *map(str, adapters)]
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
    measured: Measured = json.loads(done.stdout)
    return measured


def show(results: dict[str, Any]) -> None:
    runs, cores = results["seconds"], results["machine"]["cores"]
    least, least_unsynced = _best(runs["limit"]), _best(runs["limit"], synced=False)
    title = f"{results['adapters']} adapters, {results['megabytes']:.0f} MB, {cores} cores"
    table = Table(title=title, title_justify="left", caption="best of all runs; times in seconds")
    table.add_column()
    for heading in ("wall", "x least", "no fsync", "x least", "CPU"):
        table.add_column(heading, justify="right")
    table.add_column("all runs")
    for name, label in ROWS.items():
        wall, unsynced = _best(runs[name]), _best(runs[name], synced=False)
        table.add_row(
            label,
            f"{wall:.2f}",
            f"{wall / least:.1f}",
            f"{unsynced:.2f}",
            f"{unsynced / least_unsynced:.1f}",
            f"{min(run['cpu'] for run in runs[name]):.2f}",
            " ".join(f"{run['wall']:.2f}" for run in runs[name]),
        )
    console = Console(width=max(Console().width, 100))
    console.print(table)
    ratio = _best(runs["released"]) / _best(runs["robustmerge"])
    console.print(f"released / robustmerge: {ratio:.1f} x")
    module = results["one_module_seconds"]
    console.print(
        f"one module, PEFT svd / robustmerge: {module['peft'] / module['robustmerge']:.0f} x "
        f"({module['peft']:.1f} s, {module['robustmerge'] * 1e3:.0f} ms; "
        f"results differ by {module['differ']:.0e})"
    )
    for name, megabytes in results["memory_megabytes"].items():
        console.print(f"memory, {name}: {megabytes:.0f} MB")


def _best(runs: list[Measured], *, synced: bool = True) -> float:
    """Return the least seconds, with or without those spent flushing to the disk."""
    return min(run["wall"] - (0 if synced else run["sync"]) for run in runs)


if __name__ == "__main__":
    main()
