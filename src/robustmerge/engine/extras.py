"""Fully trained parameters (projector, modules_to_save): merged by a policy of their own.

    mean   Σ_t w_t P_t / Σ_t w_t
    sum    P_base + Σ_t w_t (P_t - P_base), which needs the base

Where the base is given, an adapter in which a parameter is missing counts as unchanged base there.
The global scale does not act on them: it belongs to the low-rank updates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Literal

import torch
from torch import Tensor

from ..adapter import align, layout
from ..adapter.base import Base
from ..adapter.keys import full_name
from ..adapter.promises import is_rows, token_rows
from ..adapter.reader import Adapter
from ..adapter.tensor_ref import TensorRef
from ..adapter.tensors import DTYPES, TensorSpec
from ..errors import MergeError
from .job import written_name
from .options import DType, ExtrasPolicy
from .recipe import Recipe
from .tokens import VOCABULARY, TokensPlan

Location = Literal["adapter", "beside", "llava"]
"""Which file they are written to: the adapter's, one of their own, or that of original LLaVA."""

_NAMES = {str(dtype).removeprefix("torch."): name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Extra:
    """One fully trained parameter, or a copy of a base weight, that goes into the result.

    Attributes:
        name: Canonical name.
        written: Name in the output, without the prefix.
        spec: Type and shape in the output.
        copied: It must be equal in all adapters and is passed on, rather than merged.
        rows: Of single rows of embeddings: which they are. Each is the mean over the adapters that
            train it.
        owners: Of embeddings and heads: rows whose token only some adapters have, and the positions
            of those, over which the row is averaged.
    """

    name: str
    written: str
    spec: TensorSpec
    copied: bool = False
    rows: tuple[int, ...] = ()
    owners: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class ExtrasPlan:
    """The fully trained parameters of a merge: which, merged how, and written where.

    Attributes:
        parameters: Those that go into the result.
        adapters: The opened inputs.
        weights: One per adapter.
        policy: Mean, or sum of changes to the base.
        base: The opened base model, if it is given and needed.
        location: Which file they are written to.
    """

    parameters: tuple[Extra, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    weights: tuple[float, ...] = ()
    policy: ExtrasPolicy = "mean"
    base: Base | None = None
    location: Location = "adapter"

    @property
    def in_adapter(self) -> tuple[Extra, ...]:
        """Those that are written to the adapter's own file."""
        return self.parameters if self.location == "adapter" else ()

    def specs(self) -> dict[str, TensorSpec]:
        """Return types and shapes, under the names that an adapter file has for them."""
        return {full_name(extra.written): extra.spec for extra in self.parameters}

    def merge(self, extra: Extra) -> Tensor:
        """Merge one parameter, in float32; memory: three times the parameter.

        Raises:
            MergeError: different copies of a base weight
        """
        if extra.copied:
            return _common_copy(extra, self.adapters)
        if extra.rows:
            return self._merge_rows(extra)
        tensors = [adapter.extras.get(extra.name) for adapter in self.adapters]
        original = self.base.tensors.get(extra.name) if self.base else None
        known = original is not None and original.spec.shape == extra.spec.shape
        start = original.read() if original and known else torch.zeros(extra.spec.shape)
        total = torch.zeros(extra.spec.shape, dtype=torch.float64)
        for weight, tensor in zip(self.weights, tensors, strict=True):
            if tensor is not None:
                total += weight * (tensor.read() - start).double()
        if self.policy == "mean":
            total /= sum(self.weights)
        merged = (start + total).float()
        for row, positions in extra.owners.items():
            if row < len(merged):
                merged[row] = self._mean_row(extra, dict.fromkeys(positions, row))
        return merged

    def _merge_rows(self, extra: Extra) -> Tensor:
        module = extra.name.removesuffix(".token_adapter.trainable_tokens_delta")
        held = [token_rows(a.config, a.written.get(module, module)) for a in self.adapters]
        where = [
            {n: rows.index(row) for n, rows in enumerate(held) if row in rows} for row in extra.rows
        ]
        return torch.stack([self._mean_row(extra, indices) for indices in where])

    def _mean_row(self, extra: Extra, where: Mapping[int, int]) -> Tensor:
        """Return the weighted mean of one row, by adapter and position in its tensor."""
        refs = {n: self.adapters[n].extras.get(extra.name) for n in where}
        present = {n: ref for n, ref in refs.items() if ref is not None}
        total = sum(self.weights[n] for n in present) or 1.0
        parts = [self.weights[n] / total * r.read()[where[n]] for n, r in present.items()]
        return torch.stack(parts).sum(0).float()

    def check(self) -> None:
        """Check before any work that every parameter can be merged by the policy.

        Raises:
            MergeError: a policy that needs a base without one, or a mean with weights of sum zero
        """
        for extra in self.parameters:
            if not extra.copied:
                self._check(extra)

    def _check(self, extra: Extra) -> None:
        if extra.rows and self.policy == "sum":
            raise MergeError(
                f"{extra.name} are rows of their own, of which there is no sum of changes",
                where="--extras sum",
                hint="--extras mean takes each row from the adapters that train it",
            )
        missing = [a.label for a in self.adapters if extra.name not in a.extras and not extra.rows]
        in_base = self.base is not None and extra.name in self.base.tensors
        if not in_base and (self.policy == "sum" or missing):
            raise MergeError(
                f"{extra.name} can only be merged as a change of the base, which is not there",
                where="\n".join(f"missing in {label}" for label in missing)
                or f"base {self.base.label if self.base else None}",
                hint="--base MODEL; or --extras mean with --missing drop",
            )
        if self.policy == "mean" and sum(self.weights) == 0:
            raise MergeError(
                f"weights {list(self.weights)} sum to zero, so {extra.name} has no weighted mean",
                hint="other weights, or --extras sum with --base",
            )

    def close(self) -> None:
        """Release the base model."""
        if self.base is not None:
            self.base.close()


def plan_extras(
    adapters: Sequence[Adapter], recipe: Recipe, target: str, tokens: TokensPlan
) -> ExtrasPlan:
    """Find the fully trained parameters of the result, and open the base if they need it.

    Args:
        adapters: The opened inputs.
        recipe: What to merge, and how.
        target: The layout of the result.
        tokens: What rows of the vocabulary mean.
    """
    beside = recipe.extras_in == "beside"
    location: Location = "beside" if beside else "llava" if target == layout.LLAVA else "adapter"
    parameters = _find_extras(adapters, recipe, target, location, tokens)
    base = _open_base(recipe, parameters) if recipe.base is not None and parameters else None
    return ExtrasPlan(
        parameters, tuple(adapters), recipe.coefficients, recipe.extras, base, location
    )


def output_dtype(dtype: DType | None, specs: Sequence[TensorSpec]) -> str:
    """Return the output's type: the one named, or the narrowest that holds all inputs' values."""
    if dtype:
        return _NAMES[dtype]
    widest = reduce(torch.promote_types, [DTYPES.get(spec.dtype, torch.float32) for spec in specs])
    return _NAMES[str(widest).removeprefix("torch.")]


def _find_extras(
    adapters: Sequence[Adapter],
    recipe: Recipe,
    target: str,
    location: Location,
    tokens: TokensPlan,
) -> tuple[Extra, ...]:
    extras = []
    for name in align.select_extras(adapters, recipe.missing):
        tensors = [a.extras[name] for a in adapters if name in a.extras]
        module, _, leaf = name.rpartition(".")
        bare = module in ("", "model")
        if bare:
            written = layout.written(name, target)
        else:
            written = f"{written_name(module, adapters, recipe.layout)}.{leaf}"
        if bare and location == "adapter":
            raise MergeError(
                f"{name} is a bare parameter, which no PEFT adapter can hold",
                where=str(tensors[0]),
                hint="--extras-in beside writes such tensors to a file of their own",
            )
        rows = _rows(name, adapters)
        shape = (len(rows), *tensors[0].spec.shape[1:]) if rows else tensors[0].spec.shape
        spec = TensorSpec(output_dtype(recipe.dtype, [t.spec for t in tensors]), shape)
        owners = tokens.owners if name.endswith(VOCABULARY) else {}
        extras.append(Extra(name, written, spec, rows=rows, owners=owners))
    copies = {n: p for a in adapters for n, p in a.bases.items()}
    for name in sorted(copies, key=align.natural_key):
        module, _, leaf = name.partition(".base_layer.")
        written = f"{written_name(module, adapters, recipe.layout)}.base_layer.{leaf}"
        extras.append(Extra(name, written, copies[name].spec, copied=True))
    return tuple(extras)


def _rows(name: str, adapters: Sequence[Adapter]) -> tuple[int, ...]:
    """Return the rows of embeddings that a parameter has in the result, none for any other."""
    if not is_rows(name):
        return ()
    module = name.removesuffix(".token_adapter.trainable_tokens_delta")
    holders = [a for a in adapters if name in a.extras]
    every = (row for a in holders for row in token_rows(a.config, a.written.get(module, module)))
    return tuple(dict.fromkeys(every))


def _open_base(recipe: Recipe, extras: Sequence[Extra]) -> Base:
    base = Base(str(recipe.base))
    for extra in extras:
        tensor = base.tensors.get(extra.name)
        grown = tensor is not None and _is_grown(extra, tensor)
        if grown and recipe.extras == "mean":
            continue
        if grown and tensor is not None:
            raise MergeError(
                f"{extra.name} has {extra.spec.shape[0]} rows, the base {tensor.spec.shape[0]}, so "
                "that new rows are no change of the base",
                where=str(tensor),
                hint="--extras mean; or save the base after "
                f"resize_token_embeddings({extra.spec.shape[0]}) and name that",
            )
        if tensor is not None and tensor.spec.shape != extra.spec.shape:
            raise MergeError(
                f"{extra.name} has another shape in the base",
                where=f"adapters   {list(extra.spec.shape)}\n{tensor}   {list(tensor.spec.shape)}",
                hint="name the base model the adapters were trained on",
            )
    return base


def _is_grown(extra: Extra, tensor: TensorRef) -> bool:
    """Decide whether embeddings or head have more rows than the base's, and nothing else."""
    ours, theirs = extra.spec.shape, tensor.spec.shape
    return extra.name.endswith(VOCABULARY) and ours[1:] == theirs[1:] and ours[0] > theirs[0]


def _common_copy(extra: Extra, adapters: Sequence[Adapter]) -> Tensor:
    """Return the copy of a base weight, if all adapters that have one agree."""
    holders = [a for a in adapters if extra.name in a.bases]
    first = holders[0].bases[extra.name]
    tensor = first.read()
    for other in holders[1:]:
        if not torch.equal(tensor, other.bases[extra.name].read()):
            raise MergeError(
                f"the adapters carry different copies of the base weight {extra.name}",
                where=f"{first}\n{other.bases[extra.name]}",
                hint="the vocabularies differ or the weight was trained; they have no common base",
            )
    return tensor
