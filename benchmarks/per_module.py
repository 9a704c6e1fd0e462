"""One module of 4096 x 4096 and the sum of its updates cut to rank 16: PEFT's `svd`, and ours.

    python benchmarks/per_module.py ADAPTER...

PEFT forms the dense sum and decomposes that; here the decomposition takes place in core space.
Prints seconds and by how much the two results differ, as JSON.
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


def with_peft(updates: list[Factors]) -> Callable[[], Factors]:
    """A live model of one layer with all adapters; the call merges them."""
    d_out, d_in = updates[0].shape
    layer = nn.Sequential(OrderedDict(layer=nn.Linear(d_in, d_out, bias=False)))
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["layer"])
    model = get_peft_model(layer, config, adapter_name="0")
    assert isinstance(model, PeftModel)
    names = [str(t) for t in range(len(updates))]
    for name in names[1:]:
        model.add_adapter(name, config)
    lora = model.base_model.model.layer
    for name, update in zip(names, updates, strict=True):
        lora.lora_A[name].weight.data.copy_(update.A)
        lora.lora_B[name].weight.data.copy_(update.B)

    def merge() -> Factors:
        weights = [1.0] * len(names)
        model.add_weighted_adapter(names, weights, "all", combination_type="svd", svd_rank=RANK)
        return Factors(lora.lora_A["all"].weight.detach(), lora.lora_B["all"].weight.detach())

    return merge


def with_ours(updates: list[Factors]) -> Callable[[], Factors]:
    """The same from factors."""
    method = methods.get("task-arithmetic")
    stack = Stack.of(updates)

    def merge() -> Factors:
        return fit(method(stack), RANK)[0]

    return merge


def timed(merge: Callable[[], Factors], repeats: int) -> tuple[float, Tensor]:
    """Best time of some, and the merged delta."""
    took = []
    for _ in range(repeats):
        start = perf_counter()
        merged = merge()
        took.append(perf_counter() - start)
    return min(took), merged.dense().float()


def main() -> None:
    adapters = [load(folder) for folder in sys.argv[1:]]
    name = next(n for n, module in adapters[0].modules.items() if module.shape == (4096, 4096))
    updates = [adapter.factors(name) for adapter in adapters]
    seconds, ours = timed(with_ours(updates), 10)
    theirs_seconds, theirs = timed(with_peft(updates), 1)
    differ = float((ours - theirs).norm() / theirs.norm())
    print(json.dumps({"peft": theirs_seconds, "robustmerge": seconds, "differ": differ}))


if __name__ == "__main__":
    main()
