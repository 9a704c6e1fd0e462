"""Time and memory of merging LoRA on fused experts: `python benchmarks/experts.py --layers 48`.

Adapters with the shapes of Qwen3-VL-30B-A3B's experts: per layer 128 experts, gate and up together
[1536 2048], down [2048 768], rank 16 in bfloat16, 26 MB a layer. Their values are drawn, not
trained: every A has a start of its own, as PEFT draws it, and a drift of a fifth of that. Every
merge is a process of its own, and so is the limit: reading the inputs, and writing one of them. The
exact sum has four times the output, and no decomposition of 256 modules a layer.
Rounds alternate between them, and the least of each counts. CPU time is what other programs disturb
least.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file

from processes import peak, start_ready

HERE = Path(__file__).parent
EXPERTS, RANK = 128, 16
SHAPES = {".base_layer": (1536, 2048), "": (2048, 768)}
"""(d_out, d_in) of gate_up_proj, whose wrapper PEFT nests inside, and down_proj."""
CONTENDERS = ("limit", "exact_sum", "task_arithmetic", "robustmerge", "drift")
CONFIG = {
    "peft_type": "LORA",
    "base_model_name_or_path": "Qwen/Qwen3-VL-30B-A3B-Instruct",
    "r": RANK,
    "lora_alpha": 2 * RANK,
    "bias": "none",
    "target_modules": [],
    "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=48)
    parser.add_argument("--adapters", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS[1:])
    parser.add_argument("--work", type=Path, help="where the adapters are written")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "experts.json")
    arguments = parser.parse_args()
    with TemporaryDirectory(dir=arguments.work) as work:
        folder = Path(work)
        adapters = [
            write_adapter(folder / f"{t}", t, arguments.layers) for t in range(arguments.adapters)
        ]
        names = [name for name in CONTENDERS if name == CONTENDERS[0] or name in arguments.only]
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(arguments.rounds):
            for name, measured in rounds.items():
                measured.append(measure(name, adapters, folder / "out"))
        size = (adapters[0] / "adapter_model.safetensors").stat().st_size
    results: dict[str, Any] = {
        "layers": arguments.layers,
        "adapters": arguments.adapters,
        "megabytes_per_adapter": size / 1e6,
        "cores": len(os.sched_getaffinity(0)),
        "load_after": os.getloadavg(),
        "rounds": rounds,
        "least": least(rounds),
    }
    arguments.results.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results["least"], indent=2))


def write_adapter(folder: Path, task: int, layers: int) -> Path:
    """Write one adapter of random values."""
    folder.mkdir()
    tensors = {}
    for layer in range(layers):
        for nested, (d_out, d_in) in SHAPES.items():
            stem = f"base_model.model.model.language_model.layers.{layer}.mlp.experts{nested}"
            own = torch.Generator().manual_seed(1000 * task + layer)
            start = 2 * torch.rand(EXPERTS * RANK, d_in, generator=own) - 1  # PEFT's
            A = (start + 0.2 * torch.randn(start.shape, generator=own)) * d_in**-0.5
            B = torch.randn(d_out, RANK * EXPERTS, generator=own) * 0.01
            tensors[f"{stem}.lora_A.weight"] = A.bfloat16()
            tensors[f"{stem}.lora_B.weight"] = B.bfloat16()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return folder


def measure(name: str, adapters: list[Path], output: Path) -> dict[str, float]:
    """Run one contender in a new process."""
    process = start_ready("contenders.py", name, str(output), *map(str, adapters))
    megabytes = peak(process)
    assert process.stdout is not None
    measured: dict[str, float] = json.loads(process.stdout.read())
    if output.is_dir():
        shutil.rmtree(output)
    else:
        output.unlink()
    return measured | {"megabytes": megabytes}


def least(rounds: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the least of every figure, and times as multiples of the limit's."""
    figures = ("wall", "cpu", "megabytes")
    best = {n: {f: min(m[f] for m in rows) for f in figures} for n, rows in rounds.items()}
    return {
        name: {
            **row,
            "times_the_limit_wall": row["wall"] / best["limit"]["wall"],
            "times_the_limit_cpu": row["cpu"] / best["limit"]["cpu"],
        }
        for name, row in best.items()
    }


if __name__ == "__main__":
    main()
