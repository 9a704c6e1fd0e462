"""The adapter baked into the base: W + B A, in float32, rounded once to the base's type.

DoRA scales the rows of the sum to the magnitude vector that was trained.

The base is rewritten file by file and tensor by tensor under its own names, types, shards and
index. Memory is one tensor: its stored bytes, its float32 values, to which B A is added in place,
and their rounding, some 8 bytes per entry of the largest changed tensor of a 16-bit base: 355 MiB
for one of 1.1 GB in tensors of 45 million entries.

A base in 4 or 8 bit is dequantized on the way: the sum is that of the rounded weights and the
adapter, in 16 bit, which is what the adapter was trained on where it was trained on that base. It
is the sum with the original weights where --base names these.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..adapter.base import Base
from ..adapter.base_experts import stored_parameter
from ..adapter.base_updates import BaseUpdate, expert_updates
from ..adapter.keys import Part
from ..adapter.promises import is_rows
from ..adapter.quantized import Dequantized
from ..adapter.reader import LoraModule
from ..adapter.tensor_ref import TensorRef
from ..adapter.tensors import DTYPES, TensorSpec
from ..adapter.tokenizer import FILES as TOKENIZER, tokenizer_files, write_tokenizer
from ..errors import MergeError
from ..files import check_space, read_json, write_json
from ..threads import Progress
from .changes import AdapterChanges
from .companions import INDEX, SETTINGS, copy_all, other_files, weight_files
from .quantized import (
    QUANTIZER_FILES,
    unpacked_size,
    unpacked_weights,
    without_quantization,
    write_index,
)
from .rewrite import NewTensor, rewrite
from .vocabulary import (
    EMBEDDINGS,
    HEAD,
    TrainedRows,
    VocabularyChanges,
    grow_settings,
    is_copy,
    plan_vocabulary,
    text_settings,
)


@dataclass(frozen=True)
class TensorEdit:
    """One changed tensor of the base.

    Attributes:
        start: Its value before the updates: in the base, or in the adapter if fully trained.
        updates: What is added to it.
        target: The tensor of the base that it replaces.
        magnitude: The norms that its rows are scaled to, where the adapter is a DoRA.
        rows: Single rows that are replaced.
        size: How many rows it has then, 0 where as many as before.
    """

    start: TensorRef
    updates: tuple[BaseUpdate, ...]
    target: TensorRef
    magnitude: TensorRef | None = None
    rows: TrainedRows | None = None
    size: int = 0

    @property
    def spec(self) -> TensorSpec:
        """Type and shape of the new tensor."""
        old = self.target.spec
        return TensorSpec(old.dtype, (self.size, *old.shape[1:])) if self.size else old

    def compute(self) -> Tensor:
        """Return the new values, in float32, or in float64 where an input is."""
        tensor = self._first_value()
        for update in self.updates:
            factors = update.module.factors()
            A, B = factors.A, factors.B
            if tensor.dtype != A.dtype or A.dtype != B.dtype:
                tensor, A, B = tensor.double(), A.double(), B.double()
            # Of a convolution, [d_out, c·k·k].
            weight = tensor.flatten(1) if update.expert is None else tensor[update.expert]
            turned = update.turned
            if turned is None:
                # An embedding [vocabulary hidden] is read by rows, so its update is transposed.
                module = update.module
                turned = module.part is not Part.A or weight.shape != module.shape
            weight = weight.T if turned else weight  # [d_out, d_in], [hidden, vocabulary]
            changed = weight if update.outputs is None else weight[update.outputs]
            changed.addmm_(B, A)
        if self.magnitude is not None:
            scales = self.magnitude.read().flatten() / tensor.norm(dim=1)  # [d_out]
            tensor.mul_(scales[:, None])
        return tensor

    def _first_value(self) -> Tensor:
        """Return the values before the updates, with replaced and new rows."""
        tensor = self.start.read()
        if self.size > tensor.shape[0]:
            more = tensor.new_zeros(self.size - len(tensor), *tensor.shape[1:])
            tensor = torch.cat([tensor, more])
        if self.rows is not None:
            tensor[list(self.rows.rows)] = self.rows.values.read().to(tensor.dtype)
        return tensor


@dataclass(frozen=True)
class BaseEdits:
    """All changes of a base.

    Attributes:
        edits: The new tensors, by the base's own names.
        unties: Whether embeddings and head differ afterwards, even if they were tied.
        head: An output head of its own, where it was the embeddings until now: name and edit.
        vocabulary: What becomes of the rows of embeddings and head.
    """

    edits: Mapping[str, TensorEdit]
    unties: bool
    head: tuple[str, TensorEdit] | None
    vocabulary: VocabularyChanges

    @property
    def growth(self) -> tuple[int, int]:
        """By how many bytes and entries the checkpoint grows, a head of its own included."""
        edits = self.edits.values()
        pairs = [(e.spec, e.target.spec) for e in edits if e.size]
        new = [self.head[1].spec] if self.head else []
        return (
            sum(a.nbytes - b.nbytes for a, b in pairs) + sum(s.nbytes for s in new),
            sum(math.prod(a.shape) - math.prod(b.shape) for a, b in pairs)
            + sum(math.prod(s.shape) for s in new),
        )


def plan(changes: AdapterChanges, base: Base) -> BaseEdits:
    """Find the tensor of the base that every change belongs to, from headers alone.

    A quantized base is the model that it stands for.

    Raises:
        MergeError: a tensor does not fit the base, or the base cannot be changed.
    """
    _refuse(changes, base)
    changes.check_fit(base, bakes=True)
    vocabulary = plan_vocabulary(changes, base)
    _check_copies(changes, base, vocabulary)
    updates: dict[str, list[BaseUpdate]] = defaultdict(list)
    for module in changes.adapter.modules.values():
        for name, part in _parts(module, changes, base).items():
            updates[name].append(part)
    edits = {}
    replaced = {name: ref for name, ref in changes.replaced.items() if not is_rows(name)}
    grown = [n for n in base.tensors if vocabulary.size and n.endswith((HEAD, EMBEDDINGS))]
    for name in sorted({*updates, *replaced, *vocabulary.rows, *grown}):
        if name == HEAD and vocabulary.one_weight:
            continue
        # A head that is not stored is the embeddings, which stay as they are for its sake.
        tied = base.weight("lm_head") if name == HEAD else None
        ref = _checked(base.tensors.get(name) or tied, name)
        start = replaced.get(name) or vocabulary.starts.get(name, ref)
        modules = [update.module.name for update in updates[name]]
        magnitudes = [changes.magnitudes[m] for m in modules if m in changes.magnitudes]
        edits[name] = TensorEdit(
            start,
            tuple(updates[name]),
            ref,
            magnitudes[0] if magnitudes else None,
            vocabulary.rows.get(name),
            vocabulary.size if name.endswith((HEAD, EMBEDDINGS)) else 0,
        )
    stored = {edit.target.name: edit for name, edit in edits.items() if name in base.tensors}
    changed = any(name == HEAD or name.endswith(EMBEDDINGS) for name in edits)
    unties = changed and not vocabulary.one_weight
    head = _own_head(base, edits, vocabulary) if unties else None
    return BaseEdits(stored, unties, head, vocabulary)


def write_full(
    changes: AdapterChanges,
    base: Base,
    changed: BaseEdits,
    folder: Path,
    progress: Progress,
    quantized: Dequantized | None = None,
) -> None:
    """Fill a folder with the changed base, of 16-bit weights where it is quantized.

    Raises:
        MergeError: the disk is full, a value does not fit the base's type, or a file is damaged.
    """
    needed = sum(path.stat().st_size for path in [*weight_files(base), *other_files(base)])
    needed += unpacked_size(quantized) if quantized else 0
    check_space(folder, needed + changed.growth[0])
    done, total = 0, len(changed.edits) + (changed.head is not None)

    def new(edit: TensorEdit) -> NewTensor:
        def compute() -> Tensor:
            nonlocal done
            tensor = edit.compute()
            progress(done := done + 1, total)
            return tensor

        return NewTensor(edit.spec, compute)

    for path in weight_files(base):
        here = {n: new(e) for n, e in changed.edits.items() if e.target.file.path == path}
        head = changed.head
        own = {head[0]: new(head[1])} if head and head[1].target.file.path == path else {}
        if quantized is None:
            rewrite(path, folder / path.name, here, own)
        else:
            dense = unpacked_weights(quantized, path)
            unpacked = {n: here.pop(n, tensor) for n, tensor in dense.items()}
            gone = quantized.parts.get(path, frozenset())
            rewrite(path, folder / path.name, here, {**unpacked, **own}, gone)
    index = [base.folder / INDEX] if (base.folder / INDEX).is_file() else []
    source = changes.adapter.folder
    carries = bool(changed.vocabulary.touched and tokenizer_files(source))
    # The adapter's tokenizer knows the rows that are new; the base's would contradict it.
    others = [path for path in other_files(base) if not (carries and path.name in TOKENIZER)]
    others = [path for path in others if not (quantized and path.name in QUANTIZER_FILES)]
    copy_all([*index, *others], folder)
    if carries:
        write_tokenizer(source, folder, {})
    if changed.unties:
        _untie(folder)
    if changed.vocabulary.size:
        grow_settings(folder / SETTINGS, changed.vocabulary.size)
    if quantized is not None:
        without_quantization(folder / SETTINGS)
        if index:
            write_index(folder / INDEX)
    elif index and any(changed.growth):
        _update_index(folder / INDEX, changed)


def _parts(module: LoraModule, changes: AdapterChanges, base: Base) -> Mapping[str, BaseUpdate]:
    """Return the updates that are added to parameters of the base, by their canonical names."""
    updates = expert_updates(base, module, changes.adapter.modules)
    if not updates:
        return {_parameter(module, base): BaseUpdate(module)}
    if module.name in changes.magnitudes:
        raise MergeError(
            "DoRA of an expert that the base stores otherwise: its magnitudes are those of rows of "
            "another weight",
            where=f"{changes.magnitudes[module.name]}\n{base.label}",
            hint="PEFT's merge_and_unload bakes it",
        )
    return updates


def _parameter(module: LoraModule, base: Base) -> str:
    """Return the canonical name of the base's parameter that a module's update is added to."""
    if module.wrapped is not None and (stored := stored_parameter(base, module)) is not None:
        return next(name for name, ref in base.tensors.items() if ref is stored)
    name = module.name.replace(".base_layer", "")
    fused = f"{name}.in_proj_weight"  # of torch.nn.MultiheadAttention
    return fused if fused in base.tensors else f"{name}.weight"


def _refuse(changes: AdapterChanges, base: Base) -> None:
    where = f"{changes.adapter.config.path}\n{base.folder / SETTINGS}"
    if changes.adapter.config.raw.get("fan_in_fan_out"):
        raise MergeError(
            "fan_in_fan_out is set: the base's weights are stored the other way round",
            where=where,
            hint="only bases of ordinary linear layers are baked; PEFT's merge_and_unload does it",
        )
    if changes.magnitudes:
        changes.refuse(Part.EMBEDDING_A, "DoRA on embeddings", "PEFT's merge_and_unload bakes it")


def _check_copies(changes: AdapterChanges, base: Base, vocabulary: VocabularyChanges) -> None:
    """Check that the adapter's copies of base weights are the base's."""
    for name, copy in changes.adapter.bases.items():
        module = name.removesuffix(".base_layer.weight")
        if f"{module}.weight" in vocabulary.starts:
            continue
        theirs = base.weight(module)
        if theirs is None or not is_copy(copy, theirs):
            raise MergeError(
                f"the adapter carries a copy of {module}.weight with other values than the base's",
                where=f"{copy}\n{theirs or base.label}",
                hint="the vocabulary was resized or the weights trained; save the base with them "
                "and name that",
            )


def _checked(ref: TensorRef | None, name: str) -> TensorRef:
    if ref is None or ref.spec.dtype not in DTYPES:
        kind = ref.spec.dtype if ref else "quantized"
        raise MergeError(
            f"a weight of the base is {kind}, to which nothing can be added",
            where=str(ref or name),
            hint="--base is the model in float32, float16 or bfloat16",
        )
    return ref


def _own_head(
    base: Base, edits: Mapping[str, TensorEdit], vocabulary: VocabularyChanges
) -> tuple[str, TensorEdit] | None:
    """Return the head that a base with tied embeddings needs once one of the two is changed."""
    tied = base.weight("lm_head")
    if HEAD in base.tensors or tied is None:
        return None
    name = "language_model.lm_head.weight" if tied.name.startswith("language_model.") else HEAD
    grown = next((c for n, c in vocabulary.starts.items() if n.endswith(EMBEDDINGS)), tied)
    edit = edits.get(HEAD) or TensorEdit(grown, (), tied, size=vocabulary.size)
    return name, replace(edit, start=grown) if edit.start is tied else edit


def _untie(folder: Path) -> None:
    """Set in the settings that the head has a weight of its own."""
    settings = read_json(folder / SETTINGS)
    for part in (settings, *text_settings(settings)):
        part["tie_word_embeddings"] = False
    write_json(folder / SETTINGS, settings)


def _update_index(path: Path, changed: BaseEdits) -> None:
    """Put a head of its own into the index, and the new sizes."""
    index = read_json(path)
    if changed.head is not None:
        name, edit = changed.head
        index["weight_map"][name] = edit.target.file.path.name
    metadata = index.get("metadata")
    if isinstance(metadata, dict):
        more = dict(zip(("total_size", "total_parameters"), changed.growth, strict=True))
        metadata |= {
            k: metadata[k] + n for k, n in more.items() if isinstance(metadata.get(k), int)
        }
    write_json(path, index)
