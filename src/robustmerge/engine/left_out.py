"""What a merge loses of each adapter by `--leave-out`: counts, and the share of its updates.

The share is Σ ‖s B A‖² over the modules that are left out, divided by the sum over all modules. A
Gram matrix of rank by rank gives each: ‖B A‖² = Σ (BᵀB) ∘ (A Aᵀ). Factors of convolutions, A
[r, c, k, k] and B [d_out, r, 1, 1], are flattened behind their first axis.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from ..adapter import layout
from ..adapter.keys import FACTORS, Part
from ..adapter.reader import Adapter
from ..adapter.tensor_ref import TensorRef
from ..errors import MergeError


@dataclass(frozen=True)
class LeftOut:
    """The part of one adapter that is left out.

    Attributes:
        modules: How many modules with LoRA.
        parameters: How many fully trained parameters.
        share: The modules' share of the squared norm of the adapter's update.
    """

    modules: int
    parameters: int
    share: float

    def record(self) -> dict[str, Any]:
        """Return it as merge.json has it."""
        return asdict(self)


def measure_left_out(adapters: Sequence[Adapter], patterns: Sequence[str]) -> tuple[LeftOut, ...]:
    """Measure what every adapter loses; without patterns nothing is read.

    Reads the factors of all modules once, those of one module at a time.

    Raises:
        MergeError: no adapter has a module or parameter of these names.
    """
    if not patterns:
        return ()
    if not any(adapter.left_out or adapter.left_out_experts for adapter in adapters):
        some = next(iter(adapters[0].modules))
        raise MergeError(
            f"no module or parameter matches {', '.join(map(repr, patterns))}",
            where="--leave-out",
            hint=f"a shell pattern for the whole name; names are such as {some}",
        )
    return tuple(_measure(adapter) for adapter in adapters)


def left_out_warnings(adapters: Sequence[Adapter], losses: Sequence[LeftOut]) -> list[str]:
    """Say in words what is lost."""
    return [
        f"left out of {adapter.label}: {loss.modules} modules with {loss.share:.1%} of its "
        f"update's squared norm, and {loss.parameters} fully trained parameters"
        for adapter, loss in zip(adapters, losses, strict=bool(losses))
        if adapter.left_out or adapter.left_out_experts
    ]


def _measure(adapter: Adapter) -> LeftOut:
    pairs: dict[str, dict[Part, TensorRef]] = defaultdict(dict)
    parameters = set()
    for key, ref in adapter.left_out:
        if key.part in (*FACTORS, *FACTORS.values()):
            pairs[key.module][key.part] = ref
        else:
            parameters.add(layout.canonical(f"{key.module}.{key.leaf}"))
    lost = sum(_squared(adapter, name, tensors) for name, tensors in pairs.items())
    for module in adapter.left_out_experts:
        lost += module.scaling**2 * _squared_norm(module.A.read(), module.B.read())
    left = 0.0
    for name in adapter.modules:
        factors = adapter.factors(name)
        left += _squared_norm(factors.A, factors.B)
    return LeftOut(
        len(pairs) + len(adapter.left_out_experts),
        len(parameters),
        lost / (lost + left) if lost else 0.0,
    )


def _squared(adapter: Adapter, module: str, tensors: dict[Part, TensorRef]) -> float:
    first = next((part for part in FACTORS if part in tensors), None)
    if first is None or FACTORS[first] not in tensors:
        return 0.0  # half a pair computes nothing
    A, B = tensors[first].read().flatten(1), tensors[FACTORS[first]].read().flatten(1)
    if len(A) != B.shape[1]:
        return 0.0  # nor do factors of different ranks
    return adapter.config.scaling(module, len(A)) ** 2 * _squared_norm(A, B)


def _squared_norm(A: Tensor, B: Tensor) -> float:
    A, B = A.double(), B.double()
    return max(float(((B.T @ B) * (A @ A.T)).sum()), 0.0)
