"""A fine-tuned model next to its base: which tensors changed, and what becomes of each.

A change of a linear layer's weight becomes a low-rank update. Everything else that changed is a
fully trained parameter: norms, biases, embeddings, the output head, the connector, routers and
convolutions, as merges treat them. Both models are read in bands of rows through a memory map, so
that no tensor is in memory as a whole but the difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from safetensors import safe_open
from torch import Tensor

from ..adapter import align, layout
from ..adapter.base import Base
from ..adapter.tensor_ref import TensorRef
from ..adapter.tensors import DTYPES
from ..errors import MergeError, few, reading

_HEAD = "lm_head"
_EMBEDDINGS = ("embed_tokens", "wte", "wpe", "word_embeddings")
_ROUTERS = ("gate", "router")
"""Last segments of routers' names, which transformers keeps as bare parameters."""
_BAND = 1 << 22
"""Entries that are read at once."""


@dataclass(frozen=True)
class WeightPair:
    """One parameter in both models.

    Attributes:
        name: Canonical name.
        tuned: The tensor after fine-tuning.
        base: The tensor before.
    """

    name: str
    tuned: TensorRef
    base: TensorRef

    @property
    def module(self) -> str:
        """Canonical name of the module."""
        return self.name.rpartition(".")[0]

    @property
    def linear(self) -> bool:
        """Whether it is the weight of a linear layer that takes a low-rank update."""
        module, _, leaf = self.name.rpartition(".")
        own = module.rpartition(".")[2]
        special = own in (_HEAD, *_ROUTERS, *_EMBEDDINGS) or "embed" in own
        outside = layout.tower(module) == "connector"
        return leaf == "weight" and len(self.tuned.spec.shape) == 2 and not special and not outside

    def changed(self) -> bool:
        """Return whether any value differs from the base's, rounded to the type of the fine-tune.

        A base in float32 saved again in bfloat16 has not changed.
        """
        return any(not torch.equal(new, old.to(new.dtype)) for new, old in self._bands())

    @property
    def rounded(self) -> bool:
        """Whether the fine-tune's type holds fewer bits than the base's."""
        new, old = DTYPES[self.tuned.spec.dtype], DTYPES[self.base.spec.dtype]
        return torch.promote_types(new, old) != new

    def difference(self) -> tuple[Tensor, float]:
        """Return tuned - base in float32 (float64 stays), and the norm of the base's weight.

        Raises:
            MergeError: a value is NaN or infinite.
        """
        wide = "F64" in (self.tuned.spec.dtype, self.base.spec.dtype)
        delta = torch.empty(self.tuned.spec.shape, dtype=torch.float64 if wide else torch.float32)
        start, squares = 0, 0.0
        for new, old in self._bands():
            before = old.to(delta.dtype)
            band = delta[start : start + len(new)]
            torch.sub(new.to(delta.dtype), before, out=band)
            squares += float(before.double().square().sum())
            start += len(new)
        if not math.isfinite(delta.sum()) and not delta.isfinite().all():
            raise MergeError(
                "the difference of the two models has values that are NaN or infinite",
                where=f"{self.tuned}\n{self.base}",
                hint="one of the files is damaged, or the training run diverged",
            )
        return delta, math.sqrt(squares)

    def stored(self) -> Tensor:
        """Return the tuned tensor in its own type."""
        with reading(self.tuned.file.path), safe_open(self.tuned.file.path, "pt") as file:
            tensor: Tensor = file.get_tensor(self.tuned.name)
        return tensor

    def _bands(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows of both tensors in their own types, some megabytes at a time."""
        shape = self.tuned.spec.shape
        with (
            reading(self.tuned.file.path),
            safe_open(self.tuned.file.path, "pt") as new,
            reading(self.base.file.path),
            safe_open(self.base.file.path, "pt") as old,
        ):
            if not shape:
                yield new.get_tensor(self.tuned.name), old.get_tensor(self.base.name)
                return
            after, before = new.get_slice(self.tuned.name), old.get_slice(self.base.name)
            rows = max(1, _BAND // max(math.prod(shape[1:]), 1))
            for start in range(0, shape[0], rows):
                end = min(start + rows, shape[0])
                yield after[start:end], before[start:end]


def pair_models(tuned: Base, base: Base) -> tuple[WeightPair, ...]:
    """Pair the tensors of two models by name.

    Raises:
        MergeError: a tensor is missing in one of the two, or has another shape or no real numbers.
    """
    names = set(tuned.tensors)
    pairs = []
    for name in sorted(names, key=align.natural_key):
        # A head of its own, where the base's is its embeddings.
        before = base.tensors.get(name) or (
            base.weight(_HEAD) if name == f"{_HEAD}.weight" else None
        )
        if before is not None:
            pairs.append(WeightPair(name, tuned.tensors[name], before))
    _check_names(tuned, base, names - {p.name for p in pairs})
    for pair in pairs:
        _check_pair(pair)
    return tuple(pairs)


def _check_names(tuned: Base, base: Base, new: set[str]) -> None:
    gone = sorted(set(base.tensors) - set(tuned.tensors))
    for missing, where, names in ((tuned, base, gone), (base, tuned, sorted(new))):
        if names:
            raise MergeError(
                f"{len(names)} tensors of {where.label} are missing in {missing.label}: "
                f"{few(names)}",
                where=f"{tuned.folder}\n{base.folder}",
                hint="--base is the model that the fine-tuning started from, with the same parts",
            )


def _check_pair(pair: WeightPair) -> None:
    after, before = pair.tuned.spec, pair.base.spec
    where = f"{pair.tuned}   {list(after.shape)}\n{pair.base}   {list(before.shape)}"
    if after.shape != before.shape:
        rows = after.shape[1:] == before.shape[1:]
        vocabulary = rows and any(part in pair.name for part in (*_EMBEDDINGS, _HEAD))
        raise MergeError(
            f"the vocabularies differ: {after.shape[0]} and {before.shape[0]} rows"
            if vocabulary
            else f"{pair.name} has two shapes",
            where=where,
            hint="resize the base's embeddings as the fine-tuning did, and save it"
            if vocabulary
            else "--base is the model that the fine-tuning started from",
        )
    if {after.dtype, before.dtype} <= DTYPES.keys():
        return
    if after.dtype != before.dtype or pair.changed():
        raise MergeError(
            f"{pair.name} is {after.dtype} and {before.dtype}, of which there is no difference",
            where=where,
            hint="both models in float32, float16 or bfloat16; dequantize the other one first",
        )
