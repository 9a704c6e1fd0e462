"""Cost of every method on LLaVA-7B's shapes, 8 adapters of rank 16: `make bench-methods`.

Each method, in each of its spaces, merges the same files in a process of its own: first one layer
of seven modules, and then, if that should take less than 45 seconds, the whole model of 32 layers.
Otherwise the time is that of one layer times 32, marked with ~. Memory is the peak of anonymous
memory beyond what the imports take. Absolute times depend on the machine; the unit next to them is
task-arithmetic, which does the least a core-space method has to do. For methods that PEFT
or mergekit has too, one module of 4096 x 4096 is merged by both in the same run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llava7b
from contenders import remove
from merge import machine
from processes import peak, start_ready

HERE = Path(__file__).parent
LAYERS = 32
PATIENCE = 45.0
"""Seconds up to which the whole model is merged, unless others are given."""

Entry = tuple[str, dict[str, str]]
Measured = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".bench"))
    parser.add_argument("--only", nargs="*", help="measure these again, into the present results")
    parser.add_argument("--patience", type=float, default=PATIENCE, metavar="SECONDS")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "methods.json")
    parser.add_argument("--table", type=Path, default=HERE.parent / "docs" / "costs.md")
    parser.add_argument("--rivals", action="store_true", help="with --only: PEFT and mergekit, too")
    parser.add_argument("--write", action="store_true", help="the table, from present results")
    arguments = parser.parse_args()
    if arguments.write:
        results = json.loads(arguments.results.read_text(encoding="utf-8"))
        arguments.table.write_text(markdown(results), encoding="utf-8")
        return
    layer = llava7b.adapters(arguments.folder, layers=1)
    whole = llava7b.adapters(arguments.folder, layers=LAYERS)
    for folder in whole:  # into the page cache
        (folder / "adapter_model.safetensors").read_bytes()
    rows: list[Measured] = []
    for name, settings in entries(arguments.only):
        row = measure(name, settings, layer, whole, arguments)
        rows.append({**row, "units": row["seconds"] / (rows or [row])[0]["seconds"]})
        print(json.dumps(rows[-1]), flush=True)
    if arguments.only:
        results = json.loads(arguments.results.read_text(encoding="utf-8"))
        others = [row for row in results["rows"] if row["method"] not in arguments.only]
        new = [row for row in rows if row["method"] in arguments.only]
        first, *rest = others  # task-arithmetic, the unit
        results["rows"] = [first, *sorted(rest + new, key=lambda row: row["method"])]
    else:
        results = {"machine": machine(), "rows": rows}
    if arguments.rivals or not arguments.only:
        results["peft"] = measure_rival("per_module.py", "--all", *map(str, whole))
        results["mergekit"] = measure_rival("against_mergekit.py", *map(str, whole))
    arguments.results.parent.mkdir(exist_ok=True)
    arguments.results.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    arguments.table.write_text(markdown(results), encoding="utf-8")


def entries(only: list[str] | None) -> list[Entry]:
    """Return the unit, then every method with its defaults, and in each other space."""
    from robustmerge import methods

    result: list[Entry] = [("task-arithmetic", {})]
    for method in methods.every():
        if method.needs or method.name == "task-arithmetic":
            continue
        if only and method.name not in only:
            continue
        result.append((method.name, {}))
        if "space" in method.parameters:
            space = method.parameters["space"]
            result += [
                (method.name, {"space": choice})
                for choice in space.choices
                if choice not in (space.default, "core-paper")
            ]
    return result


def measure(
    name: str,
    settings: dict[str, str],
    one_layer: list[Path],
    whole: list[Path],
    arguments: argparse.Namespace,
) -> Measured:
    """Measure one layer, and the whole model if that should take no longer than the patience."""
    output = arguments.folder / "merged-method"
    layer = run(name, settings, one_layer, output)
    row = {"method": name, **settings, "exact": layer["seconds"] * LAYERS < arguments.patience}
    if row["exact"]:
        return {**row, **run(name, settings, whole, output)}
    return {**row, **layer, **{each: layer[each] * LAYERS for each in ("seconds", "cpu")}}


def run(name: str, settings: dict[str, str], adapters: list[Path], output: Path) -> Measured:
    """Merge in a new process, and measure its memory from outside."""
    remove(output)
    recipe = json.dumps({"method": name, "parameters": settings})
    with start_ready("one_merge.py", recipe, str(output), *map(str, adapters)) as process:
        megabytes = peak(process)
        assert process.stdout is not None
        measured: Measured = json.loads(process.stdout.read())
    remove(output)
    return {**measured, "megabytes": megabytes}


def measure_rival(script: str, *arguments: str) -> list[Measured]:
    """Merge one module by another tool and by this package."""
    command = [sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    measured: list[Measured] = json.loads(done.stdout)
    return measured


HEAD = """\
# What a merge costs

Written by `make bench-methods`: 8 adapters of rank 16 with the shapes of LLaVA-7B (224 modules, 640
MB), merged to rank 16 on {cores} cores; reading, writing and hashing included. ~ is one layer of
32, times 32. Memory is beyond what the imports take. Times change with the machine and what else
it does, which is why the unit and the CPU time are next to them.

Memory does not grow with the model. In space delta a worker holds the merged delta of its module
(180 MB for 4096 x 11008) and blocks of 8 MB per adapter; in knots it holds T R d_in numbers (45 MB
there); in the others, the factors and what is as small.
But drift keeps 1 MB a layer of its first pass.

| method | space | seconds | x task-arithmetic | CPU, s | memory, MB |
| --- | --- | ---: | ---: | ---: | ---: |
"""

PEFT = """
One module of 4096 x 4096, 8 adapters of rank 16, by PEFT's `add_weighted_adapter` and by this
package in the same process. Pruning differs where magnitudes are equal at the threshold, as many of
float16 are: PEFT keeps some of them, this package all.

| PEFT's combination type | here | PEFT, s | here, s | ratio | results differ by |
| --- | --- | ---: | ---: | ---: | ---: |
"""

MERGEKIT = """
The same module by mergekit, which is handed the full deltas, and by this package from factors;
neither cuts the result to a rank.

| mergekit's method | here | mergekit, s | here, s | ratio | results differ by |
| --- | --- | ---: | ---: | ---: | ---: |
"""


def markdown(results: Measured) -> str:
    """Return the table for docs/."""
    text = HEAD.format(cores=results["machine"]["cores"])
    for row in results["rows"]:
        about = "" if row["exact"] else "~"
        text += (
            f"| {row['method']} | {row.get('space', '')} | {about}{row['seconds']:.0f} "
            f"| {row['units']:.1f} | {about}{row['cpu']:.0f} | {row['megabytes']:.0f} |\n"
        )
    for name, head in (("peft", PEFT), ("mergekit", MERGEKIT)):
        text += head
        for row in results[name]:
            text += (
                f"| {row['type']} | {row['method']} | {row[name]:.3f} | {row['robustmerge']:.3f} "
                f"| {row[name] / row['robustmerge']:.1f} | {row['differ']} |\n"
            )
    return text + "".join(_others())


def _others() -> Iterator[str]:
    """Yield the tables of other scripts, from their results."""
    import delta
    import llama70b

    for script in (delta, llama70b):
        path = HERE / "results" / f"{script.__name__}.json"
        if path.is_file():
            yield script.markdown(json.loads(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
