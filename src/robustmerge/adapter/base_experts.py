"""Where a base stores what LoRA on experts changes: one 3-D tensor, or weights of single experts.

A checkpoint may have either, whatever the model in memory has: transformers 5 fuses the weights of
single experts when it loads them.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import unknown
from .base import Base
from .expert_families import EXPERTS, ExpertStorage
from .layout import canonical
from .reader import LoraModule
from .tensor_ref import PartRef, TensorRef
from .wrapped import DOWN, GATE_UP


def stored_parameter(base: Base, module: LoraModule) -> TensorRef | None:
    """Return the tensor that a wrapped parameter is in the base, all experts in one; or None."""
    wrapped = module.wrapped
    assert wrapped is not None
    name = stored_name(base, wrapped.module, wrapped.parameter)
    return base.tensors[name] if name else None


def stored_name(base: Base, module: str, parameter: str) -> str:
    """Return the base's name of a parameter of the module that has experts; "" where it has none.

    Args:
        base: The base.
        module: The module, as it is called fused or one by one.
        parameter: The parameter, such as gate_up_proj.
    """
    calls = [module]
    for family in EXPERTS.values():
        calls += [family.single_name(module), family.fused_name(module)]
    names = (canonical(f"{name}.{parameter}") for name in dict.fromkeys(calls))
    return next((name for name in names if name in base.tensors), "")


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
    shapes = [ref.spec.shape for ref in single_weights(base, module).values()]
    if not shapes:
        return f"there is no {name}"
    rows, columns = sum(s[0] for s in shapes), shapes[0][1]
    if (rows, columns) in ((d_out, d_in), (d_in, d_out)):
        return ""
    return (
        f"updates of {[d_out, d_in]} do not go with the experts' weights {list(map(list, shapes))}"
    )


def storage_of(base: Base) -> ExpertStorage:
    """Return how the family of a base stores its experts.

    Raises:
        MergeError: a family that is not known.
    """
    if base.family not in EXPERTS:
        raise unknown("family of mixtures of experts", base.family or "(no model_type)", EXPERTS)
    return EXPERTS[base.family]


def single_weights(base: Base, module: LoraModule) -> dict[str, TensorRef]:
    """Return the weights of a single expert that an update is about, gate before up; or none.

    Their keys are their canonical names.
    """
    wrapped = module.wrapped
    assert wrapped is not None
    for family in dict.fromkeys(EXPERTS.values()):
        layers = {GATE_UP: (family.gate, family.up), DOWN: (family.down,)}
        stem = f"{family.single_name(wrapped.module)}.{wrapped.expert}"
        names = [f"{canonical(f'{stem}.{n}')}.weight" for n in layers.get(wrapped.parameter, ())]
        if names and all(name in base.tensors for name in names):
            return {name: base.tensors[name] for name in names}
    return {}


def single_updates(base: Base, module: LoraModule) -> dict[str, LoraModule]:
    """Return the updates of a single expert's weights that an update of a parameter stands for.

    Returns:
        Updates by the canonical names of the weights; none where the base stores no single experts.

    Raises:
        MergeError: it stores them, and its family is not known.
    """
    weights = single_weights(base, module)
    if not weights:
        return {}
    storage = storage_of(base)
    A, B = module.A, module.B
    if storage.transposed:
        A, B = PartRef.of(B, turned=True), PartRef.of(A, turned=True)
    outputs = B.spec.shape[0]
    parts = [slice(None)] if len(weights) == 1 else [storage.half(n, outputs) for n in (0, 1)]
    return {
        name: replace(module, A=A, B=PartRef.of(B, rows), wrapped=None)
        for name, rows in zip(weights, parts, strict=True)
    }
