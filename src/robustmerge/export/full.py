"""The adapter baked into the base: W + B A, in float32, rounded once to the base's type.

DoRA scales the rows of the sum to the lengths that were trained.

The base is rewritten file by file and tensor by tensor under its own names, types, shards and
index. Memory is one tensor: its stored bytes, its float32 values, to which B A is added in place,
and their rounding, some 8 bytes per entry of the largest changed tensor of a 16-bit base: 355 MiB
for one of 1.1 GB in tensors of 45 million entries.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..adapter.base import Base
from ..adapter.keys import Part
from ..adapter.reader import Adapter, LoraModule, TensorRef
from ..adapter.tensors import DTYPES
from ..errors import MergeError
from ..files import check_space, read_json, write_json
from ..threads import Progress
from .changes import AdapterChanges
from .companions import INDEX, SETTINGS, beside_weights, copy_all, settings_of, shards
from .rewrite import NewTensor, rewrite

_HEAD = "lm_head.weight"
_EMBEDDINGS = "embed_tokens.weight"


@dataclass(frozen=True)
class TensorEdit:
    """What becomes of one tensor of the base.

    Attributes:
        start: Where its first value is: the base, or the adapter for one trained whole.
        updates: The modules whose updates are added to it.
        place: The tensor of the base that it takes the place of.
        lengths: What its rows are scaled to then, where the adapter is a DoRA.
    """

    start: TensorRef
    updates: tuple[LoraModule, ...]
    place: TensorRef
    lengths: TensorRef | None = None

    def compute(self, adapter: Adapter) -> Tensor:
        """The new values, in float32, or in float64 where something is."""
        tensor = self.start.read()
        for module in self.updates:
            factors = adapter.factors(module.name)
            A, B = factors.A, factors.B
            if tensor.dtype != A.dtype or A.dtype != B.dtype:
                tensor, A, B = tensor.double(), A.double(), B.double()
            # An embedding [vocabulary hidden] is read by rows, so its update is transposed.
            left, right = (B, A) if module.part is Part.A else (A.T, B.T)
            tensor.addmm_(left, right)
        if self.lengths is not None:
            tensor.mul_((self.lengths.read().flatten() / tensor.norm(dim=1))[:, None])
        return tensor


@dataclass(frozen=True)
class BaseEdits:
    """All that is changed in a base.

    Attributes:
        edits: The new tensors, by the base's own names.
        parted: Whether embeddings and head, if they were tied, are no longer.
        head: An output head of its own, where it was the embeddings until now: name and edit.
    """

    edits: Mapping[str, TensorEdit]
    parted: bool
    head: tuple[str, TensorEdit] | None


def plan(changes: AdapterChanges, base: Base) -> BaseEdits:
    """Find every change's place, from headers alone.

    Raises:
        MergeError: Something does not fit the base, or nothing can be added to such a base.
    """
    _refuse(changes, base)
    changes.check_fit(base)
    updates: dict[str, list[LoraModule]] = defaultdict(list)
    for module in changes.adapter.modules.values():
        updates[_parameter(module, base)].append(module)
    edits = {}
    for name in sorted({*updates, *changes.replaced}):
        # A head that is not stored is the embeddings, which stay as they are for its sake.
        tied = base.weight("lm_head") if name == _HEAD else None
        place = _checked(base.tensors.get(name) or tied, name)
        start = changes.replaced.get(name, place)
        given = [changes.lengths[m.name] for m in updates[name] if m.name in changes.lengths]
        edits[name] = TensorEdit(start, tuple(updates[name]), place, given[0] if given else None)
    stored = {edit.place.name: edit for name, edit in edits.items() if name in base.tensors}
    parted = any(name == _HEAD or name.endswith(_EMBEDDINGS) for name in edits)
    return BaseEdits(stored, parted, _own_head(changes, base, edits) if parted else None)


def write_full(
    changes: AdapterChanges, base: Base, baking: BaseEdits, folder: Path, progress: Progress
) -> None:
    """Fill a folder with the changed base.

    Raises:
        MergeError: The disk lacks the space, a value does not fit the base's type, or a file is
            damaged.
    """
    needed = sum(path.stat().st_size for path in [*shards(base), *beside_weights(base)])
    check_space(folder, needed + (baking.head[1].place.spec.nbytes if baking.head else 0))
    done, total = 0, len(baking.edits) + (baking.head is not None)

    def new(edit: TensorEdit) -> NewTensor:
        def compute() -> Tensor:
            nonlocal done
            tensor = edit.compute(changes.adapter)
            progress(done := done + 1, total)
            return tensor

        return NewTensor(edit.place.spec, compute)

    for path in shards(base):
        here = {n: new(e) for n, e in baking.edits.items() if e.place.file.path == path}
        head = baking.head
        own = {head[0]: new(head[1])} if head and head[1].place.file.path == path else {}
        rewrite(path, folder / path.name, here, own)
    index = [base.folder / INDEX] if (base.folder / INDEX).is_file() else []
    copy_all([*index, *beside_weights(base)], folder)
    if baking.parted:
        _untie(folder)
    if baking.head and index:
        _list(folder / INDEX, *baking.head)


def _parameter(module: LoraModule, base: Base) -> str:
    """Canonical name of the base's parameter that a module's update is added to."""
    name = module.name.replace(".base_layer", "")
    whole = f"{name}.in_proj_weight"  # attention of torch's own kind
    return whole if whole in base.tensors else f"{name}.weight"


def _refuse(changes: AdapterChanges, base: Base) -> None:
    where = f"{changes.adapter.config.path}\n{base.folder / SETTINGS}"
    if changes.adapter.config.raw.get("fan_in_fan_out"):
        raise MergeError(
            "fan_in_fan_out is set: the base's weights are stored the other way round",
            where=where,
            hint="only bases of ordinary linear layers are baked; PEFT's merge_and_unload does it",
        )
    if settings_of(base).get("quantization_config"):
        raise MergeError(
            "the base is quantized, and rounding the sum would lose most of the adapter",
            where=where,
            hint="--base is the model in float32, float16 or bfloat16; quantize the result",
        )
    if changes.lengths:
        changes.refuse(Part.EMBEDDING_A, "DoRA on embeddings", "PEFT's merge_and_unload bakes it")
    changes.refuse(
        Part.TOKENS,
        "single rows of the embeddings were trained (trainable_token_indices)",
        "PEFT's merge_and_unload bakes these",
    )
    for name, copy in changes.adapter.bases.items():
        module = name.removesuffix(".base_layer.weight")
        theirs = base.weight(module)
        if theirs is None or not _equal(copy, theirs):
            raise MergeError(
                f"the adapter carries a copy of {module}.weight with other values than the base's",
                where=f"{copy}\n{theirs or base.label}",
                hint="the vocabulary was resized or the weights trained; save the base with them "
                "and name that",
            )


def _equal(one: TensorRef, other: TensorRef) -> bool:
    if one.spec.shape != other.spec.shape or other.spec.dtype not in DTYPES:
        return False
    return torch.equal(one.read(), other.read().to(DTYPES[one.spec.dtype]).float())


def _checked(place: TensorRef | None, name: str) -> TensorRef:
    if place is None or place.spec.dtype not in DTYPES:
        kind = place.spec.dtype if place else "quantized"
        raise MergeError(
            f"a weight of the base is {kind}, to which nothing can be added",
            where=str(place or name),
            hint="--base is the model in float32, float16 or bfloat16",
        )
    return place


def _own_head(
    changes: AdapterChanges, base: Base, edits: Mapping[str, TensorEdit]
) -> tuple[str, TensorEdit] | None:
    """The head that a base with tied embeddings needs once one of the two is changed.

    Raises:
        MergeError: The adapter wants them tied.
    """
    tied = base.weight("lm_head")
    if changes.adapter.config.raw.get("ensure_weight_tying"):
        raise MergeError(
            "ensure_weight_tying is set, and the adapter changes the tied embeddings",
            where=str(changes.adapter.config.path),
            hint="PEFT's merge_and_unload bakes these",
        )
    if _HEAD in base.tensors or tied is None:
        return None
    name = "language_model.lm_head.weight" if tied.name.startswith("language_model.") else _HEAD
    return name, edits.get(_HEAD, TensorEdit(tied, (), tied))


def _untie(folder: Path) -> None:
    """Say in the settings that the head has a weight of its own."""
    settings = read_json(folder / SETTINGS)
    for part in (settings, *_texts(settings)):
        part["tie_word_embeddings"] = False
    write_json(folder / SETTINGS, settings)


def _list(path: Path, name: str, edit: TensorEdit) -> None:
    """Put a new tensor into the index."""
    index = read_json(path)
    index["weight_map"][name] = edit.place.file.path.name
    metadata = index.get("metadata")
    if isinstance(metadata, dict):
        more = {
            "total_size": edit.place.spec.nbytes,
            "total_parameters": math.prod(edit.place.spec.shape),
        }
        metadata |= {
            k: metadata[k] + n for k, n in more.items() if isinstance(metadata.get(k), int)
        }
    write_json(path, index)


def _texts(settings: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        v for k, v in settings.items() if k in ("text_config", "llm_config") and isinstance(v, dict)
    ]
