"""Time and memory of ten methods on the shapes of Llama-2-70B, 8 adapters of rank 64.

    python benchmarks/llama70b.py FOLDER [--layers 2]

Each method merges one layer and then some layers, each time in a process of its own, reading,
writing and hashing included. What further layers add, times the 80 of the model, is the time of the
whole, in processor seconds divided by two cores, so that what else runs matters little. Memory is
the peak of anonymous memory beyond what the imports take, and has to be the same for both. Writes
benchmarks/results/llama70b.json, from which `benchmarks/methods.py --write` makes docs/costs.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from llava7b import Model, adapters
from merge import machine
from methods import HERE, run

LAYERS, CORES = 80, 2
LLAMA = Model(
    "meta-llama/Llama-2-70b-hf",
    "llama70b-{}",
    64,
    {
        "self_attn.q_proj": (8192, 8192),
        "self_attn.k_proj": (1024, 8192),
        "self_attn.v_proj": (1024, 8192),
        "self_attn.o_proj": (8192, 8192),
        "mlp.gate_proj": (28672, 8192),
        "mlp.up_proj": (28672, 8192),
        "mlp.down_proj": (8192, 28672),
    },
    pickle=False,
)
METHODS = (
    "average",
    "robustmerge",
    "task-arithmetic",
    "ties",
    "dare",
    "svd-cut",
    "tsv-m",
    "iso-c",
    "wudi",
    "core-posterior",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".bench"))
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "llama70b.json")
    arguments = parser.parse_args()
    layer_files = adapters(arguments.folder, layers=1, model=LLAMA)
    more_files = adapters(arguments.folder, layers=arguments.layers, model=LLAMA)
    rows: list[dict[str, Any]] = []
    for name in METHODS:
        first = run(name, {}, layer_files, arguments.folder / "merged-70b")
        more = run(name, {}, more_files, arguments.folder / "merged-70b")
        layer = (more["cpu"] - first["cpu"]) / (arguments.layers - 1) / CORES
        rows.append({"method": name, "layer": layer, "one": first, "some": more})
        print(json.dumps(rows[-1]), flush=True)
    results = {"machine": machine(), "layers": arguments.layers, "rows": rows}
    arguments.results.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def markdown(results: dict[str, Any]) -> str:
    """Return the table for docs/costs.md."""
    text = HEAD.format(layers=results["layers"])
    for row in results["rows"]:
        megabytes = max(row["one"]["megabytes"], row["some"]["megabytes"])
        layer = row["layer"]
        text += f"| {row['method']} | {layer:.1f} | ~{layer * LAYERS:.0f} | {megabytes:.0f} |\n"
    return text


HEAD = """
## 70B

By `benchmarks/llama70b.py`: 8 adapters of rank 64 with the shapes of Llama-2-70B (80 layers, 8192
x 28672), of which {layers} layers are merged; reading, writing and hashing included. A layer is
what a further one adds, in processor seconds divided by two cores; ~ is 80 of them. Memory is the
peak of anonymous memory beyond what the imports take, which does not grow with the layers.

| method | a layer, s | 80 layers, s | memory, MB |
| --- | ---: | ---: | ---: |
"""


if __name__ == "__main__":
    main()
