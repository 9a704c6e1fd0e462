"""What an adapter's updates are to the tensors of a base, whose experts may be stored otherwise.

An adapter has experts fused or one by one, gate and up together or apart, and so has a checkpoint:

    adapter                     base: experts.3.gate_proj      base: experts.gate_up_proj [E, ., .]
    experts, fused              rows of its B are gate's       added to tensor[3]
    experts.3.gate_up_proj      the same                       the same
    experts.3.gate_proj         as it is                       added to the gate's outputs there

Whether a tensor of all experts is that of transposed weights is read from shapes; of square ones
from the shapes of gate_up_proj and down_proj together. Which outputs are the gate's is what the
family says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import MergeError
from .base import Base
from .base_experts import single_updates, storage_of, stored_name
from .expert_families import EXPERTS, GATES, SINGLE_EXPERT
from .layout import canonical
from .reader import LoraModule
from .wrapped import DOWN, GATE_UP, WrappedParameter, orientation

_DOWNS = frozenset({DOWN, *(family.down for family in EXPERTS.values())})


@dataclass(frozen=True)
class BaseUpdate:
    """An update of a tensor of the base, or of a part of it.

    Attributes:
        module: The update.
        expert: The number of the expert along the first axis of a tensor of all; None otherwise.
        outputs: Which outputs of the weight it changes, where it is not all.
        turned: Whether the weight is stored with its inputs first; None where shapes say it.
    """

    module: LoraModule
    expert: int | None = None
    outputs: slice | None = None
    turned: bool | None = None


def expert_updates(
    base: Base, module: LoraModule, modules: Mapping[str, LoraModule]
) -> dict[str, BaseUpdate]:
    """Return the updates of the base's tensors that an expert's update is, by canonical names.

    Args:
        base: The base.
        module: The update.
        modules: All of the adapter, by canonical names.

    Returns:
        Nothing where the module is no expert's, the base has it under its own name, or has none.

    Raises:
        MergeError: a family that is not known, or shapes that do not say how experts are stored.
    """
    part = _parameter_of(module)
    if part is None or f"{module.name}.weight" in base.tensors:
        return {}
    if name := stored_name(base, part.module, part.parameter):
        return {name: _inside(base, name, part.expert, module, modules)}
    if _layer(module) in {*GATES, *_DOWNS}:
        return _renamed(base, module, part)
    updates = single_updates(base, replace(module, wrapped=part))
    return {name: BaseUpdate(update) for name, update in updates.items()}


def is_in_fused(base: Base, module: LoraModule) -> bool:
    """Decide whether a module is of an expert that the base has in a tensor of all experts."""
    part = _parameter_of(module)
    return part is not None and bool(stored_name(base, part.module, part.parameter))


def misfit_of_single(
    base: Base, module: LoraModule, modules: Mapping[str, LoraModule], otherwise: str
) -> str:
    """Say why the update of a single expert does not fit a base that stores experts otherwise.

    Args:
        base: The base.
        module: The update.
        modules: All of the adapter, by canonical names.
        otherwise: What is said of a module that is no expert's, or whose expert is not there.

    Raises:
        MergeError: a family that is not known, or shapes that do not say how experts are stored.
    """
    if (ref := base.tensors.get(f"{module.name}.weight")) is not None:
        fits = ref.spec.shape == module.shape
        what = f"{ref.name} {list(ref.spec.shape)}"
        return "" if fits else f"an update of {list(module.shape)} does not go with {what}"
    updates = expert_updates(base, module, modules)
    if not updates:
        return otherwise
    for name, update in updates.items():
        shape = base.tensors[name].spec.shape
        wanted = update.module.shape
        if update.expert is not None:
            if update.expert >= shape[0]:
                return f"there is no expert {update.expert} in {name} {list(shape)}"
            halves = 1 if update.outputs is None else 2
            wanted, shape = (wanted[0] * halves, wanted[1]), shape[1:]
        if shape != (wanted[::-1] if update.turned else wanted):
            return f"an update of {list(wanted)} does not go with {name} {list(shape)}"
    return ""


def _parameter_of(module: LoraModule) -> WrappedParameter | None:
    """Return the parameter of fused experts that a module's update is of."""
    if module.wrapped is not None:
        return module.wrapped if module.wrapped.experts > 1 else None
    match = SINGLE_EXPERT.fullmatch(module.name)
    if match is None:
        return None
    parameter = DOWN if match["layer"] in _DOWNS else GATE_UP
    if parameter == GATE_UP and match["layer"] not in {GATE_UP, *GATES}:
        return None
    number = int(match["number"])
    return WrappedParameter(match["module"], parameter, 0, number + 1, module.rank, number)


def _layer(module: LoraModule) -> str:
    """Return the layer of a single expert, "" of fused ones."""
    return "" if module.wrapped is not None else module.name.rpartition(".")[2]


def _renamed(base: Base, module: LoraModule, part: WrappedParameter) -> dict[str, BaseUpdate]:
    """Return the update of a layer that the base calls otherwise; none where it has none."""
    family, layer = storage_of(base), _layer(module)
    stem = f"{family.single_name(part.module)}.{part.expert}"
    name = f"{canonical(f'{stem}.{family.layers_as(family).get(layer, layer)}')}.weight"
    return {name: BaseUpdate(module)} if name in base.tensors else {}


def _inside(
    base: Base, name: str, expert: int, module: LoraModule, modules: Mapping[str, LoraModule]
) -> BaseUpdate:
    """Return an update of one expert in a tensor of all."""
    layer, outputs, shape = _layer(module), None, module.shape
    if layer in GATES:
        family = storage_of(base)
        half = int(layer in (family.up, family.common.up))
        shape = (2 * shape[0], shape[1])
        outputs = family.half(half, shape[0])
    stored = base.tensors[name].spec.shape[1:]
    turned = stored != shape
    if shape[0] == shape[1]:
        theirs = _stored_as(base, name)
        ours = _lies(module, modules) or ("straight" if theirs == "straight" else "")
        if not ours or not theirs:
            raise MergeError(
                "the shapes of square experts do not say which axis is the input",
                where=f"{module.name}\n{base.tensors[name]}",
                hint="PEFT knows the model: PeftModel.from_pretrained(base, FOLDER)"
                ".merge_and_unload().save_pretrained(OUT)",
            )
        turned = ours != theirs
    return BaseUpdate(module, expert, outputs, turned)


def _lies(module: LoraModule, modules: Mapping[str, LoraModule]) -> str:
    """Return how the factors of a square update lie: straight, transposed, or "" if unknown.

    PEFT's are those of the weight as the model has it, which some of its versions transpose where
    inputs are first. Where outputs are first, no version does.
    """
    stem, _, layer = module.name.rpartition(".")
    if layer in GATES or any(f"{stem}.{gate}" in modules for gate in GATES):
        return "straight"
    gate_up, down = modules.get(f"{stem}.{GATE_UP}"), modules.get(f"{stem}.{DOWN}")
    return orientation(gate_up.shape, down.shape) if gate_up and down else ""


def _stored_as(base: Base, name: str) -> str:
    """Return how a base stores the weights of all experts, from both of their parameters."""
    stem = name.rpartition(".")[0]
    pair = [base.tensors.get(f"{stem}.{parameter}") for parameter in (GATE_UP, DOWN)]
    shapes = [ref.spec.shape[1:] for ref in pair if ref is not None and len(ref.spec.shape) == 3]
    if len(shapes) < 2:
        return ""
    (a, b), (c, d) = shapes
    return orientation((a, b), (c, d))
