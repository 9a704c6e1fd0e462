"""Time, memory and exactness of extracting one module: `python benchmarks/extract.py`.

Two models of one 4096 x 11008 weight in bfloat16, whose difference is the hardest case (noise, a
flat spectrum) or one like that of a fine-tune (singular values falling with the square root of
their number). Every extraction is a process of its own, with one worker on one core. The energy is
compared with that of all eigenvalues in float64. CPU time is what other programs disturb least.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from processes import peak, start_ready

HERE = Path(__file__).parent
NAME = "model.language_model.layers.0.mlp.down_proj.weight"
RULES = ("64", "marchenko-pastur", "gavish-donoho")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=2, default=(4096, 11008))
    parser.add_argument("--kinds", nargs="+", default=("noise", "decaying"))
    parser.add_argument("--rules", nargs="+", default=RULES)
    parser.add_argument("--no-exact", action="store_true", help="without all eigenvalues")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "extract.json")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(Path(arguments.work[0]), arguments.work[1])
        return
    m, n = arguments.shape
    torch.set_num_threads(1)
    results: dict[str, Any] = {"shape": [m, n], "seed": 0, "cores": len(os.sched_getaffinity(0))}
    for kind in arguments.kinds:
        with TemporaryDirectory() as folder:
            write_models(Path(folder), kind, m, n)
            results[kind] = {rule: measure(Path(folder), rule) for rule in arguments.rules}
            if not arguments.no_exact:
                results[kind]["exact_energy_at_64"] = exact(Path(folder), 64)
    results["load_after"] = os.getloadavg()
    arguments.results.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def write_models(folder: Path, kind: str, m: int, n: int) -> None:
    """Write both models, whose difference is one hundredth of the weights."""
    torch.manual_seed(0)
    weight = torch.randn(m, n) / math.sqrt(n)
    delta = torch.randn(m, n) if kind == "noise" else decaying(m, n)
    delta *= 0.01 * weight.norm() / delta.norm()
    for name, tensor in (("base", weight), ("tuned", weight + delta)):
        (folder / name).mkdir()
        save_file({NAME: tensor.bfloat16()}, folder / name / "model.safetensors")


def decaying(m: int, n: int) -> Tensor:
    """Make a matrix whose i-th singular value is about 1 / √i."""
    scales = torch.arange(1, min(m, n) + 1).float() ** -0.5
    return (torch.randn(m, len(scales)) * scales) @ torch.randn(len(scales), n)


def measure(folder: Path, rule: str) -> dict[str, float]:
    """Run one extraction in a new process."""
    process = start_ready("extract.py", "--work", str(folder), rule)
    megabytes = peak(process)
    assert process.stdout is not None
    measured: dict[str, float] = json.loads(process.stdout.read())
    return measured | {"megabytes": megabytes}


def work(folder: Path, rule: str) -> None:
    """Extract, and print what it took."""
    from robustmerge.derive.extract import extract_adapter

    print("ready", flush=True)
    sys.stdin.readline()
    cpu, wall = process_time(), perf_counter()
    try:
        report = extract_adapter(
            folder / "tuned",
            folder / f"out-{rule}",
            base=folder / "base",
            rank=rule,
            workers=1,
        )
        facts = {"rank": report.rank, "energy": report.energy[0]}
    except Exception as error:
        facts = {"refused": str(error).splitlines()[0]}
    print(json.dumps({"wall": perf_counter() - wall, "cpu": process_time() - cpu, **facts}))


def exact(folder: Path, rank: int) -> float:
    """Return the share of energy at a rank by all eigenvalues of the Gram matrix in float64."""
    tuned, base = (load_file(folder / m / "model.safetensors")[NAME] for m in ("tuned", "base"))
    delta = tuned.float() - base.float()
    gram = torch.zeros(len(delta), len(delta), dtype=torch.float64)
    for band in torch.split(delta, 512, dim=1):
        gram.addmm_(band.double(), band.double().T)
    values = torch.linalg.eigvalsh(gram)
    return float(values[-rank:].sum() / values.sum())


if __name__ == "__main__":
    main()
