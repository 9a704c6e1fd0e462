"""Find the parameters of the base that an adapter's tensors change, and whether shapes fit."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from ..adapter.base import Base
from ..adapter.base_experts import misfit_of_experts
from ..adapter.base_updates import misfit_of_single
from ..adapter.keys import Part
from ..adapter.layout import canonical
from ..adapter.promises import token_rows
from ..adapter.tensor_ref import TensorRef
from ..adapter.tensors import DTYPES
from .contents import LORA, Contents, NamedTensor

_EMBEDDING = (Part.EMBEDDING_A, Part.EMBEDDING_B)
_FIRST = (Part.A, Part.EMBEDDING_A)
VOCABULARY = ("embed_tokens.weight", "lm_head.weight")
"""Ends of the names of parameters with one row for each token."""


def misfit(item: NamedTensor, contents: Contents, base: Base) -> str:
    """Say why a tensor does not fit the base, '' where it does."""
    if (module := contents.wrapped.get(item.key.module)) is not None:
        return misfit_of_experts(base, module)
    if item.key.module in contents.stacked:
        return _misfit_of_stacked(item.key.module, contents, base)
    name = parameter(item)
    ref = _find(item, contents, base)
    if ref is None:
        return f"there is no {name}"
    if sizes := other_vocabulary(item, contents, base):
        return f"{item.ref.name} is of a vocabulary of {sizes[0]}, the base has {sizes[1]}"
    if not _shape_is_known(ref):
        return ""
    theirs = ref.spec.shape
    transposed = contents.config.raw.get("fan_in_fan_out") and len(theirs) == 2
    if _fits(item, theirs) or (transposed and _fits(item, theirs[::-1])):
        return ""
    return f"{item.ref.name} {list(item.shape)} does not go with {name} {list(theirs)}"


def _misfit_of_stacked(written: str, contents: Contents, base: Base) -> str:
    """Say why the first of all experts' updates does not fit, or the last; "" where all do."""
    assert contents.adapter is not None
    modules = contents.adapter.modules
    own = [m for m in modules.values() if m.stacked and m.stacked.written == written]
    texts = (
        misfit_of_single(base, module, modules, otherwise=f"there is no {module.name}")
        for module in (own[0], own[-1])  # all have one shape
    )
    return next(filter(None, texts), "")


def other_vocabulary(item: NamedTensor, contents: Contents, base: Base) -> tuple[int, int] | None:
    """Return the sizes of the vocabulary in a tensor and in the base, where nothing else differs.

    Of single rows, the size is the least that has them. None where the tensor is about no
    vocabulary, fits, or does not fit for another reason.
    """
    name, part = parameter(item), item.key.part
    ref = _find(item, contents, base)
    if ref is None or not name.endswith(VOCABULARY) or not item.shape:
        return None
    theirs = ref.spec.shape
    if part is Part.TOKENS:
        rows = max(token_rows(contents.config, item.key.module), default=-1) + 1
        return (rows, theirs[0]) if rows > theirs[0] and item.shape[1:] == theirs[1:] else None
    ours = item.shape[-1] if part is Part.EMBEDDING_A else item.shape[0]
    if ours == theirs[0] or part in (Part.A, Part.EMBEDDING_B):
        return None
    return (ours, theirs[0]) if _fits(item, (ours, *theirs[1:])) else None


def fits_renamed(item: NamedTensor, base: Base) -> bool:
    """Decide whether a tensor fits the base by its canonical name, whatever its own is."""
    ref = _stored(parameter(item), base)
    return ref is not None and (not _shape_is_known(ref) or _fits(item, ref.spec.shape))


def nearest(item: NamedTensor, base: Base) -> str:
    """Return the base's parameter whose name is nearest to a tensor's, '' where none is near."""
    return next(iter(get_close_matches(parameter(item), base.tensors, n=1)), "")


def parameter(item: NamedTensor) -> str:
    """Return the canonical name of the base's parameter that a tensor changes or replaces."""
    module = canonical(item.key.module.replace(".base_layer", ""))
    if item.key.part is Part.FULL:
        return canonical(item.written)
    if item.key.part is Part.BASE:
        return f"{module}.{item.key.leaf.removeprefix('base_layer.')}"
    return f"{module}.weight"


def unknown_shapes(items: Iterable[NamedTensor], base: Base) -> int:
    """Count the tensors that belong to quantized weights, whose stored shape is another."""
    refs = [_stored(parameter(item), base) for item in items]
    return sum(ref is not None and not _shape_is_known(ref) for ref in refs)


def _find(item: NamedTensor, contents: Contents, base: Base) -> TensorRef | None:
    if contents.text_only and contents.live(item.written) != item.written:
        return None  # names of a vision-language model, which a language model does not have
    return _stored(parameter(item), base)


def _stored(name: str, base: Base) -> TensorRef | None:
    if name in base.tensors:
        return base.tensors[name]
    module, _, leaf = name.rpartition(".")
    if leaf != "weight":
        return None
    return base.weight(module) or base.tensors.get(f"{module}.qweight")


def _shape_is_known(ref: TensorRef) -> bool:
    return ref.spec.dtype in DTYPES or ref.spec.dtype.startswith("F8")


def _fits(item: NamedTensor, weight: tuple[int, ...]) -> bool:
    """Decide whether a tensor fits a weight (d_out, d_in, …) or embedding (vocabulary, hidden)."""
    shape, part = item.shape, item.key.part
    if part in (Part.FULL, Part.BASE):
        return shape == weight
    if part in (Part.MAGNITUDE, Part.LORA_BIAS):
        return shape == weight[:1]
    if part is Part.TOKENS:
        return len(shape) == 2 and shape[1:] == weight[1:] and shape[0] <= weight[0]
    assert part in LORA
    d_out, *d_in = reversed(weight) if part in _EMBEDDING else weight
    if part in _FIRST:
        return list(shape[1:]) == d_in
    return shape[:1] == (d_out,) and all(n == 1 for n in shape[2:])
