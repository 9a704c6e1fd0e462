"""Parameters trained whole (projector, modules_to_save): merged by a policy of their own.

    mean   Σ_t w_t P_t / Σ_t w_t
    sum    P_base + Σ_t w_t (P_t - P_base), which needs the base

Where the base is given, an adapter that lacks a parameter counts as unchanged base there. The
global scale does not act on them: it belongs to the low-rank updates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..adapter.base import Base
from ..adapter.reader import Adapter
from ..adapter.tensors import TensorSpec
from ..errors import MergeError
from .recipe import Recipe


@dataclass(frozen=True)
class Extra:
    """One parameter trained whole, or a copy of a base weight, that goes into the result.

    Attributes:
        name: Canonical name.
        written: Name in the output, without the prefix.
        spec: Type and shape in the output.
        copied: It must be equal in all adapters and is passed on, rather than merged.
    """

    name: str
    written: str
    spec: TensorSpec
    copied: bool = False


def check_extra(
    extra: Extra, recipe: Recipe, adapters: Sequence[Adapter], base: Base | None
) -> None:
    """Check before any work that a parameter can be merged as asked.

    Raises:
        MergeError: The policy needs a base that is not there, or a mean of weights without a sum.
    """
    if extra.copied:
        return
    lacking = [a.label for a in adapters if extra.name not in a.extras]
    known = base is not None and extra.name in base.tensors
    if not known and (recipe.extras == "sum" or lacking):
        raise MergeError(
            f"{extra.name} can only be merged as a change of the base, which is not there",
            where="\n".join(f"{label} lacks it" for label in lacking) or f"base {recipe.base}",
            hint="--base MODEL; or --extras mean with --missing drop",
        )
    if recipe.extras == "mean" and recipe.weights is not None and sum(recipe.weights) == 0:
        raise MergeError(
            f"weights {list(recipe.weights)} sum to zero, so {extra.name} has no weighted mean",
            hint="other weights, or --extras sum with --base",
        )


def merge_extra(
    extra: Extra, recipe: Recipe, adapters: Sequence[Adapter], base: Base | None
) -> Tensor:
    """Merge one parameter, in float32; memory: three times the parameter.

    Raises:
        MergeError: Copies that must agree do not.
    """
    if extra.copied:
        return _the_same(extra, adapters)
    weights = recipe.weights or (1.0,) * len(adapters)
    places = [a.extras.get(extra.name) for a in adapters]
    original = base.tensors.get(extra.name) if base else None
    start = original.read() if original else torch.zeros(extra.spec.shape)
    total = torch.zeros(extra.spec.shape, dtype=torch.float64)
    for weight, place in zip(weights, places, strict=True):
        if place is not None:
            total += weight * (place.read() - start).double()
    if recipe.extras == "mean":
        total /= sum(weights)
    return (start + total).float()


def _the_same(extra: Extra, adapters: Sequence[Adapter]) -> Tensor:
    """A copy of a base weight: passed on if all adapters that have it agree."""
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
