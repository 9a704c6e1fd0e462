"""What an adapter does to the rows of the vocabulary: it grows them, trains single ones, ties them.

    136 rows on a base of 128            embeddings, head and config.json grow to 136
    trainable_token_indices              these rows of the embeddings are replaced; of a head that
                                         is the same weight, too, as PEFT does
    ensure_weight_tying                  embeddings and head change alike and stay one weight

New rows come from the adapter; nothing is made up for a token that it has no row for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..adapter.base import Base
from ..adapter.keys import Part
from ..adapter.promises import token_rows
from ..adapter.reader import LoraModule
from ..adapter.tensor_ref import TensorRef
from ..adapter.tensors import DTYPES
from ..checks.tensor_locations import other_vocabulary, parameter
from ..errors import MergeError
from ..files import read_json, write_json
from .changes import AdapterChanges

HEAD = "lm_head.weight"
EMBEDDINGS = "embed_tokens.weight"
_BY_PEFT = "load it with PEFT into the model it was trained on, resized, and merge_and_unload"


@dataclass(frozen=True)
class TrainedRows:
    """Rows of a parameter that an adapter replaces: values [n, hidden], and which they are."""

    values: TensorRef
    rows: tuple[int, ...]


@dataclass(frozen=True)
class VocabularyChanges:
    """The changes of embeddings and head.

    Attributes:
        size: How many rows there are afterwards, 0 where as many as before.
        rows: Replaced rows, by canonical parameter.
        starts: Copies of grown weights that the adapter carries, by canonical parameter.
        one_weight: The base's head is its embeddings, and stays so.
    """

    size: int
    rows: Mapping[str, TrainedRows]
    starts: Mapping[str, TensorRef]
    one_weight: bool

    @property
    def touched(self) -> bool:
        """Whether rows got a meaning that the base's tokenizer may not know."""
        return bool(self.size or self.rows)


def plan_vocabulary(changes: AdapterChanges, base: Base) -> VocabularyChanges:
    """Find out what becomes of embeddings and head; reads copies of base weights.

    Raises:
        MergeError: rows are missing, or embeddings and head are to be one weight and differ.
    """
    sizes = [other_vocabulary(item, changes.contents, base) for item in changes.items]
    size = max((ours for ours, theirs in filter(None, sizes) if ours > theirs), default=0)
    rows = {
        parameter(item): TrainedRows(
            item.ref, tuple(token_rows(changes.adapter.config, item.key.module))
        )
        for item in changes.contents.of(Part.TOKENS)
    }
    starts = {
        name.replace(".base_layer.", "."): copy
        for name, copy in changes.adapter.bases.items()
        if size and copy.spec.shape[0] == size
    }
    is_one = _is_one_weight(changes, base, rows, grows=size > 0)
    planned = VocabularyChanges(size, rows, starts, is_one)
    if size:
        for name in _parameters(base, one_weight=is_one):
            _check_rows(name, changes, base, planned)
    return planned


def _parameters(base: Base, *, one_weight: bool) -> Iterator[str]:
    """Yield the parameters with a row for each token; a head that parts is one of them."""
    yield from (name for name in base.tensors if name.endswith(EMBEDDINGS))
    if not one_weight and base.weight("lm_head") is not None:
        yield HEAD


def _is_one_weight(
    changes: AdapterChanges, base: Base, rows: Mapping[str, TrainedRows], *, grows: bool
) -> bool:
    """Decide whether embeddings and head, one weight in the base, change alike."""
    if HEAD in base.tensors or base.weight("lm_head") is None:
        return False
    ensured = bool(changes.adapter.config.raw.get("ensure_weight_tying"))
    differ = "the rows" if HEAD in rows else _differ(changes)
    if ensured and differ:
        raise MergeError(
            f"ensure_weight_tying is set, and {differ} of embeddings and head are not the same",
            where=str(changes.adapter.config.path),
            hint="they cannot be one weight; take ensure_weight_tying out of the settings to part "
            "them",
        )
    both = HEAD in changes.replaced and any(n.endswith(EMBEDDINGS) for n in changes.replaced)
    return ensured or (bool(rows) and HEAD not in rows) or (grows and both and not differ)


def _differ(changes: AdapterChanges) -> str:
    """Say what differs between the changes of embeddings and head, '' where nothing does.

    A change of the embeddings alone is one of a head that is the same weight, too.
    """
    whole = [ref for n, ref in changes.replaced.items() if n.endswith((EMBEDDINGS, HEAD))]
    if len(whole) == 2 and not torch.equal(whole[0].read(), whole[1].read()):
        return "the weights"
    if len(whole) == 1 and HEAD in changes.replaced:
        return "the weights"
    modules = changes.adapter.modules
    head = modules.get("lm_head")
    embedding = next((m for m in modules.values() if m.part is Part.EMBEDDING_A), None)
    if head is None:
        return ""
    if embedding is None:
        return "the updates"
    return "" if _is_transposed(head, embedding) else "the updates"


def _is_transposed(head: LoraModule, embedding: LoraModule) -> bool:
    """Decide whether a head's B A is the transpose of an embedding's, factor by factor."""
    pairs = ((head.A, embedding.B), (head.B, embedding.A))
    same_scaling = head.scaling == embedding.scaling
    return same_scaling and all(
        torch.equal(first.read(), second.read().T) for first, second in pairs
    )


def _check_rows(name: str, changes: AdapterChanges, base: Base, planned: VocabularyChanges) -> None:
    ref = base.tensors.get(name) or base.weight("lm_head")
    assert ref is not None
    before, size = ref.spec.shape[0], planned.size
    copy = planned.starts.get(name)
    if copy is None and name == HEAD and HEAD not in base.tensors:
        # A head that was the embeddings starts as they do.
        copy = next((c for n, c in planned.starts.items() if n.endswith(EMBEDDINGS)), None)
    held = changes.replaced.get(name) or copy
    rows = planned.rows.get(name)
    if held is not None and held.spec.shape[0] == size:
        if copy is not None and not is_copy(copy, ref, before):
            raise MergeError(
                f"the adapter's copy of {name} has other values in its first {before} rows than "
                "the base",
                where=f"{copy}\n{ref}",
                hint="these rows were trained, too; save the base with them and name that",
            )
        return
    if rows is None or not set(range(before, size)) <= set(rows.rows):
        raise MergeError(
            f"{name} has {before} rows in the base, the adapter is of a vocabulary of {size} and "
            f"has no values for {name}'s rows {before} to {size - 1}",
            where=f"{changes.adapter.label}\n{base.label}",
            hint=_BY_PEFT,
        )


def is_copy(copy: TensorRef, weight: TensorRef, rows: int | None = None) -> bool:
    """Decide whether a tensor of an adapter, or so many rows of it, are a weight of the base."""
    shape = copy.spec.shape if rows is None else (rows, *copy.spec.shape[1:])
    if shape != weight.spec.shape or weight.spec.dtype not in DTYPES:
        return False
    rounded = weight.read().to(DTYPES[copy.spec.dtype])
    return torch.equal(copy.read()[:rows], rounded.float())


def grow_settings(path: Path, size: int) -> None:
    """Set the size of the vocabulary in config.json, wherever it says one."""
    settings = read_json(path)
    for part in (settings, *text_settings(settings)):
        if "vocab_size" in part:
            part["vocab_size"] = size
    write_json(path, settings)


def text_settings(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of the language model inside those of a vision-language model."""
    return [
        v for k, v in settings.items() if k in ("text_config", "llm_config") and isinstance(v, dict)
    ]
