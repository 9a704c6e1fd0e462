"""One module of 4096 x 4096 merged by mergekit on full deltas, and here from factors.

    python benchmarks/against_mergekit.py ADAPTER...

mergekit merges whole models; it is handed the deltas, which here are part of the work. Neither cuts
the result to a rank. Prints seconds and by how much the results differ, as JSON; random types drop
other entries, so that their results cannot be compared.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

import torch
from mergekit.merge_methods.api import merge_tensors

from robustmerge import load, methods
from robustmerge.factors import Factors, Stack

DELTA = {"space": "delta", "flavor": "mergekit"}
TYPES: dict[str, tuple[dict[str, object], str, dict[str, object]]] = {
    "ties": ({"density": 0.2, "weight": 1.0}, "ties", {"density": 0.2, **DELTA}),
    "dare_linear": ({"density": 0.5, "weight": 1.0}, "dare", {"density": 0.5, **DELTA}),
    "della": (
        {"density": 0.7, "epsilon": 0.07, "weight": 1.0},
        "della",
        {"density": 0.7, "epsilon": 0.07, **DELTA},
    ),
    "breadcrumbs": (
        {"density": 0.15, "gamma": 0.006, "weight": 1.0},
        "breadcrumbs",
        {"density": 0.15, "gamma": 0.006, **DELTA},
    ),
    "sce": ({}, "sce", {"space": "delta"}),
    "model_stock": ({}, "model-stock", {}),
    "karcher": ({}, "karcher", {}),
}
"""mergekit's methods with their parameters, and the same methods here."""


def main() -> None:
    adapters = [load(folder) for folder in sys.argv[1:]]
    name = next(n for n, module in adapters[0].modules.items() if module.shape == (4096, 4096))
    updates = [adapter.factors(name) for adapter in adapters]
    # So large that no guard of mergekit's against small numbers acts, with something in common.
    updates = [Factors(f.A, 30 * (f.B + updates[0].B)) for f in updates]
    stack = Stack.of(updates, module=name)
    deltas = [update.dense() for update in updates]
    rows = []
    for kind, (kit, own, parameters) in TYPES.items():
        method = methods.get(own)
        settings = method.configure(parameters)
        start = perf_counter()
        ours = method(stack, **settings).dense()  # type: ignore[union-attr]
        seconds = perf_counter() - start
        whole = kind != "karcher"  # which takes no base
        start = perf_counter()
        inputs = [torch.zeros_like(deltas[0]), *deltas] if whole else deltas
        theirs = merge_tensors(inputs, kind, parameters=kit, base_index=0 if whole else None)
        rows.append(
            {
                "type": kind,
                "method": " ".join([own, *(str(v) for k, v in parameters.items() if k == "space")]),
                "mergekit": perf_counter() - start,
                "robustmerge": seconds,
                "differ": "(random)"
                if method.stochastic
                else f"{float((ours - theirs).norm() / theirs.norm()):.0e}",
            }
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
