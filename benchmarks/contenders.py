"""What `merge.py` measures: every contender merges the same adapters in a process of its own.

    python benchmarks/contenders.py NAME OUTPUT ADAPTER...

prints "ready" when all imports are done, waits for a line, does the work once, and prints what it
took as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time

import torch
from torch import Tensor

import llava7b
from robustmerge.engine.merge import merge_recipe
from robustmerge.engine.recipe import Recipe


def limit(adapters: list[Path], output: Path) -> None:
    """Do what every merge has to: read the inputs into memory, write an adapter to the disk."""
    read = [(folder / "adapter_model.safetensors").read_bytes() for folder in adapters]
    with output.open("wb") as file:
        file.write(read[0])
        file.flush()
        os.fsync(file.fileno())


def floor(adapters: list[Path], output: Path) -> None:
    """Do as much on two threads, and hash and convert what is read, as any merge with a record."""

    def read(folder: Path) -> bytearray:
        data = bytearray(llava7b.size(folder))
        with (folder / "adapter_model.safetensors").open("rb", buffering=0) as file:
            file.readinto(data)
        hashlib.sha256(data).digest()
        for piece in torch.frombuffer(data, dtype=torch.uint8).split(1 << 20):
            piece.view(torch.float16).float()
        return data

    with ThreadPoolExecutor(2) as pool:
        first, *_ = pool.map(read, adapters)
    with output.open("wb") as file:
        file.write(first)
        file.flush()
        os.fsync(file.fileno())


def released(adapters: list[Path], output: Path) -> None:
    """RobustMerge's released arithmetic, written plainly: everything in memory, task by task."""
    tasks = [torch.load(llava7b.pickled(folder), weights_only=True) for folder in adapters]
    merged = {}
    for a in (name for name in tasks[0] if "lora_A" in name):
        b = a.replace("lora_A", "lora_B")
        A = torch.stack([task[a].float() for task in tasks])  # [task rank d_in]
        B = torch.stack([task[b].float() for task in tasks])  # [task d_out rank]
        A_kept, B_kept = prune(A), prune(B)
        scale = A.abs().sum(2) / A_kept.abs().sum(2)  # [task rank]
        scale = scale.clamp_min(scale.sort().values[:, int(scale.shape[1] * 0.8), None])
        merged[a] = (2 * A_kept).sum(0).half()
        merged[b] = (2 * scale[:, None] * B_kept / scale.sum(0)).sum(0).half()
    torch.save(merged, output)


def prune(x: Tensor, density: float = 0.2) -> Tensor:
    """Keep each task's largest entries."""
    magnitude = x.abs()
    flat = magnitude.flatten(1)
    threshold = flat.kthvalue(int(flat.shape[1] * (1 - density)), dim=1).values
    return x * (magnitude >= threshold[:, None, None])


def robustmerge(adapters: list[Path], output: Path) -> None:
    """This package, by the paper's method, whose released arithmetic is the other contender."""
    merge_recipe(Recipe(tuple(map(str, adapters)), method="robustmerge"), output)


def task_arithmetic(adapters: list[Path], output: Path) -> None:
    """This package: the sum of the updates, cut to rank 16."""
    merge_recipe(Recipe(tuple(map(str, adapters)), method="task-arithmetic", rank="16"), output)


def exact_sum(adapters: list[Path], output: Path) -> None:
    """This package: the sum of the updates at the sum of their ranks, without a decomposition."""
    merge_recipe(Recipe(tuple(map(str, adapters)), method="task-arithmetic", rank="full"), output)


def drift(adapters: list[Path], output: Path) -> None:
    """This package: its default method, at its default rank."""
    merge_recipe(Recipe(tuple(map(str, adapters)), method="drift"), output)


CONTENDERS: dict[str, Callable[[list[Path], Path], None]] = {
    function.__name__: function
    for function in (limit, floor, released, robustmerge, task_arithmetic, exact_sum, drift)
}


@contextmanager
def timed_syncs() -> Iterator[list[float]]:
    """Seconds that each flush to the disk takes."""
    took: list[float] = []
    fsync = os.fsync

    def timed(handle: int) -> None:
        start = perf_counter()
        fsync(handle)
        took.append(perf_counter() - start)

    os.fsync = timed
    try:
        yield took
    finally:
        os.fsync = fsync


def main() -> None:
    name, output, *adapters = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()
    with timed_syncs() as syncs:
        wall, cpu = perf_counter(), process_time()
        CONTENDERS[name](list(map(Path, adapters)), Path(output))
        wall, cpu = perf_counter() - wall, process_time() - cpu
    print(json.dumps({"wall": wall, "cpu": cpu, "sync": sum(syncs)}), flush=True)


def remove(output: Path) -> None:
    """Remove what a contender wrote."""
    if output.is_dir():
        shutil.rmtree(output)
    else:
        output.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
