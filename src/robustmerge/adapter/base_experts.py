"""Where a base stores what LoRA on experts changes: one 3-D tensor, or weights of single experts.

A checkpoint may have either, whatever the model in memory has: transformers 5 fuses the weights of
single experts when it loads them.
"""

from __future__ import annotations

from collections.abc import Iterator

from .base import Base
from .layout import canonical
from .reader import LoraModule
from .tensor_ref import TensorRef

_APART = (("gate_proj", "up_proj"), ("w1", "w3"))
_DOWN = {"down_proj": ("down_proj", "w2")}


def stored_parameter(base: Base, module: LoraModule) -> TensorRef | None:
    """Return the tensor that a wrapped parameter is in the base, all experts in one; or None."""
    wrapped = module.wrapped
    assert wrapped is not None
    return base.tensors.get(canonical(f"{wrapped.module}.{wrapped.parameter}"))


def misfit_of_experts(base: Base, module: LoraModule) -> str:
    """Say why a wrapped parameter does not fit the base, '' where it does."""
    wrapped = module.wrapped
    assert wrapped is not None
    name, (d_out, d_in) = f"{wrapped.module}.{wrapped.parameter}", module.shape
    if (ref := stored_parameter(base, module)) is not None:
        wanted = (wrapped.experts, d_out, d_in) if wrapped.experts > 1 else (d_out, d_in)
        turned = (*wanted[:-2], d_in, d_out)
        if ref.spec.shape in (wanted, turned) or ref.spec.dtype.startswith(("I", "U")):
            return ""
        return f"updates of {list(wanted)} do not go with {name} {list(ref.spec.shape)}"
    shapes = list(_single(base, module))
    if not shapes:
        return f"there is no {name}"
    rows, columns = sum(s[0] for s in shapes), shapes[0][1]
    if (rows, columns) in ((d_out, d_in), (d_in, d_out)):
        return ""
    return (
        f"updates of {[d_out, d_in]} do not go with the experts' weights {list(map(list, shapes))}"
    )


def _single(base: Base, module: LoraModule) -> Iterator[tuple[int, ...]]:
    """Yield the shapes of the weights of a single expert that an update is about."""
    wrapped = module.wrapped
    assert wrapped is not None
    stem = canonical(f"{wrapped.module}.{wrapped.expert}")
    leaves = [_DOWN.get(wrapped.parameter, (wrapped.parameter,))]
    if wrapped.parameter == "gate_up_proj":
        leaves = [
            pair for pair in _APART if all(f"{stem}.{n}.weight" in base.tensors for n in pair)
        ]
    for group in leaves[:1]:
        for leaf in group:
            if (ref := base.tensors.get(f"{stem}.{leaf}.weight")) is not None:
                yield ref.spec.shape
