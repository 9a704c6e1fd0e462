"""RELAY's arithmetic on random models of growing width, and the cost model of docs/ours-relay.md.

    python benchmarks/relay_cost.py [--widths 128 256 512 1024]

Two adapters of rank 8 on all linear modules of four blocks, 12 prompts each of about 130 tokens,
answers of 8. PyTorch counts the operations of matrix products (2 m k n for m x k by k x n);
decompositions, which it does not count, are in the seconds alone. A pass is 2 N P operations, for N
tokens and P parameters in the blocks. Prints a JSON line for every width.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import llava7b
import robustmerge
from gpu import random_llama

LAYERS, HEADS, PROMPTS = 4, 4, 12
LENGTH, ANSWER = 130, 8
"""Tokens of a prompt and of its answer."""


class OperationCounter(TorchDispatchMode):
    """Count the operations of matrix products by PyTorch's own formulas.

    PyTorch's counter hooks modules, which a pass back to the middle of a model does not survive.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 256, 512, 1024])
    for width in parser.parse_args().widths:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(width, Path(folder))), flush=True)


def measure(width: int, folder: Path) -> dict[str, Any]:
    """Merge two adapters of a random model of this width, and count."""
    inner = width * 11 // 4
    base = random_llama(folder / "base", LAYERS, shape=(width, inner, HEADS))
    shapes = {f"self_attn.{name}_proj": (width, width) for name in "qkvo"}
    shapes |= {f"mlp.{name}_proj": (inner, width) for name in ("gate", "up")}
    shapes["mlp.down_proj"] = (width, inner)
    model = llava7b.Model(str(base), "cost-{}", 8, shapes, pickle=False)
    adapters = llava7b.adapters(folder, 2, LAYERS, model)
    samples = list(write_samples(folder, len(adapters)))
    start = process_time()
    with OperationCounter() as counted:
        robustmerge.relay(
            adapters,
            folder / "merged",
            base,
            samples,
            prompts=PROMPTS - 2,
            longest=ANSWER,
            workers=1,
        )
    seconds = process_time() - start
    weights = LAYERS * sum(rows * columns for rows, columns in shapes.values())
    tokens = len(adapters) * PROMPTS * (LENGTH + ANSWER - 1)
    operations = 2 * tokens * weights
    return {
        "width": width,
        "tokens": tokens,
        "weights": weights,
        "passes": round(counted.total / operations, 2),
        "cpu_seconds": round(seconds, 1),
    }


def write_samples(folder: Path, tasks: int) -> Iterator[Path]:
    """Write prompts that differ from task to task."""
    for task in range(tasks):
        words = [f"w{3 + (7 * task + k) % 290}" for k in range(LENGTH - 2)]
        rows = [{"text": f"w{10 + n} w{40 + task} " + " ".join(words)} for n in range(PROMPTS)]
        path = folder / f"{task}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        yield path


if __name__ == "__main__":
    main()
