"""One module of 4096 x 4096 merged by PEFT and here: the sum cut to rank 16, or every type.

    python benchmarks/per_module.py [--all] ADAPTER...

PEFT forms the dense sum and decomposes that; here the decomposition takes place in core space.
Prints seconds and by how much the two results differ, as JSON; random types drop other entries, so
that their results cannot be compared.
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from collections.abc import Callable
from time import perf_counter

from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from llava7b import RANK
from robustmerge import load, methods
from robustmerge.factors import Factors, Stack
from robustmerge.linalg import fit

TYPES: dict[str, tuple[str, dict[str, object]]] = {
    "svd": ("task-arithmetic", {}),
    "ties": ("ties", {"density": 0.2}),
    "ties_svd": ("ties", {"density": 0.2, "space": "delta"}),
    "dare_linear": ("dare", {"density": 0.5}),
    "dare_linear_svd": ("dare", {"density": 0.5, "space": "delta"}),
    "dare_ties": ("dare-ties", {"density": 0.5}),
    "dare_ties_svd": ("dare-ties", {"density": 0.5, "space": "delta"}),
    "magnitude_prune": ("magnitude-prune", {"density": 0.2}),
    "magnitude_prune_svd": ("magnitude-prune", {"density": 0.2, "space": "delta"}),
}
"""PEFT's combination types, with the same methods here."""


def with_peft(updates: list[Factors], kind: str = "svd") -> Callable[[], Factors]:
    """Create a model of one layer with all adapters, and return the merge of them."""
    d_out, d_in = updates[0].shape
    layer = nn.Sequential(OrderedDict(layer=nn.Linear(d_in, d_out, bias=False)))
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["layer"])
    model = get_peft_model(layer, config, adapter_name="0")
    assert isinstance(model, PeftModel)
    names = [str(t) for t in range(len(updates))]
    density = TYPES[kind][1].get("density")
    for name in names[1:]:
        model.add_adapter(name, config)
    lora = model.base_model.model.layer
    for name, update in zip(names, updates, strict=True):
        lora.lora_A[name].weight.data.copy_(update.A)
        lora.lora_B[name].weight.data.copy_(update.B)

    def merge() -> Factors:
        weights = [1.0] * len(names)
        options = {"svd_rank": RANK} if kind.endswith("svd") else {}
        if density is not None:
            options["density"] = density
        model.add_weighted_adapter(names, weights, "all", combination_type=kind, **options)
        return Factors(lora.lora_A["all"].weight.detach(), lora.lora_B["all"].weight.detach())

    return merge


def with_ours(updates: list[Factors], kind: str = "svd") -> Callable[[], Factors]:
    """Return the same merge from factors."""
    name, parameters = TYPES[kind]
    method = methods.get(name)
    settings = method.configure(parameters)
    stack = Stack.of(updates)

    def merge() -> Factors:
        return fit(method(stack, **settings), RANK)[0]

    return merge


def timed(merge: Callable[[], Factors], repeats: int) -> tuple[float, Tensor]:
    """Return the best time of some, and the merged delta."""
    took = []
    for _ in range(repeats):
        start = perf_counter()
        merged = merge()
        took.append(perf_counter() - start)
    return min(took), merged.dense().float()


def compare(updates: list[Factors], kind: str) -> dict[str, object]:
    """Merge by both, with one combination type."""
    seconds, ours = timed(with_ours(updates, kind), 1)
    theirs_seconds, theirs = timed(with_peft(updates, kind), 1)
    differ = float((ours - theirs).norm() / theirs.norm())
    name, parameters = TYPES[kind]
    return {
        "type": kind,
        "method": " ".join([name, *(str(v) for k, v in parameters.items() if k == "space")]),
        "peft": theirs_seconds,
        "robustmerge": seconds,
        "differ": "(random)" if kind.startswith("dare") else f"{differ:.0e}",
    }


def main() -> None:
    every = "--all" in sys.argv
    adapters = [load(folder) for folder in sys.argv[1:] if folder != "--all"]
    name = next(n for n, module in adapters[0].modules.items() if module.shape == (4096, 4096))
    updates = [adapter.factors(name) for adapter in adapters]
    if every:
        print(json.dumps([compare(updates, kind) for kind in TYPES]))
        return
    seconds, ours = timed(with_ours(updates), 10)
    theirs_seconds, theirs = timed(with_peft(updates), 1)
    differ = float((ours - theirs).norm() / theirs.norm())
    print(json.dumps({"peft": theirs_seconds, "robustmerge": seconds, "differ": differ}))


if __name__ == "__main__":
    main()
