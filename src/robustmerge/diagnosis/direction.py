r"""What became of each of an adapter's directions (u_i, σ_i, v_i) in a merge (û_j, σ̂_j, v̂_j).

    left    |u_i · û_j|
    right   |v_i · v̂_j|
    both    (u_i · û_j) (v_i · v̂_j), the cosine of the rank-one updates; negative where the merge
            has the direction with the opposite sign
    ratio   σ̂_j / σ_i
    gain    u_i^T Δ v_i / σ_i, Δ the merged update: what the merge gives along the direction
    answer  u_i · Δ v_i / ‖Δ v_i‖: whether Δ answers to the direction's input as the adapter does

RobustMerge (arXiv:2502.17159, figure 7) shows the similarity of corresponding singular vectors of
task and merge and the ratio of their singular values, for the largest and for the mean of the rest.
It does not say which vectors, nor which correspond, so both readings are here: by index, j = i, and
under the matching j(i) with the greatest sum (Hungarian algorithm), found for left, right and both
each on its own; the matched ratio is that of both's. A direction without partner, as where the
merge is of lower rank, has similarity and ratio 0.

Where singular values repeat, singular vectors are not unique and figures by index or by matching
mean one choice among many; `repeated` says so. Gain and answer ask nothing of the merge's singular
vectors, and `kept` nothing of anybody's; they are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..linalg import ROUNDING, SVD
from .core_updates import CoreUpdate

Part = Literal["largest", "rest"]
Matching = Callable[[Tensor], Tensor]
GAP = 1e-3
"""Singular values closer than this share of the larger are taken to repeat: half precision in the
file would turn their directions into each other."""


@dataclass(frozen=True)
class DirectionOverlap:
    """What became of directions, on average over some of them.

    Attributes:
        left: Similarity of left directions, by index.
        right: Of right directions, by index.
        both: Of the rank-one updates, by index.
        left_matched: As `left`, under the best matching.
        right_matched: As `right`, under the best matching.
        both_matched: As `both`, under the best matching.
        ratio: Merged singular value over the adapter's, by index.
        ratio_matched: The same under the matching of both.
        gain: What the merge gives along the direction.
        answer: Cosine of its answer to the direction's input.
    """

    left: float
    right: float
    both: float
    left_matched: float
    right_matched: float
    both_matched: float
    ratio: float
    ratio_matched: float
    gain: float
    answer: float


@dataclass(frozen=True)
class Direction(DirectionOverlap):
    """The largest direction of an adapter's update in one module, or the rest of them.

    Attributes:
        module: The module.
        adapter: The adapter.
        merged: The merge.
        part: largest, or rest.
        repeated: Whether singular values repeat, so that directions are not unique.
        weight: Energy of these directions.
    """

    module: str
    adapter: str
    merged: str
    part: Part
    repeated: bool
    weight: float


@dataclass(frozen=True)
class Curve(DirectionOverlap):
    """One direction by its place in the spectrum.

    Attributes:
        module: The module, or the projection where modules have been averaged.
        adapter: The adapter.
        merged: The merge.
        index: From 1, the largest.
        modules: How many modules are averaged.
    """

    module: str
    adapter: str
    merged: str
    index: int
    modules: int = 1


MEASURES = tuple(field.name for field in fields(DirectionOverlap))


def directions(
    module: str, adapter: str, merge: str, task: CoreUpdate, merged: CoreUpdate, match: Matching
) -> Iterator[Direction | Curve]:
    """Follow an adapter's directions into a merge; an update that is zero has none."""
    if not task.rank:
        return
    found = _fates(task.svd, merged, match)
    for i, row in enumerate(found.tolist(), 1):
        yield Curve(**by_name(row), module=module, adapter=adapter, merged=merge, index=i)
    parts: tuple[tuple[Part, slice], ...] = (("largest", slice(1)), ("rest", slice(1, None)))
    S, T = task.svd.S, merged.svd.S
    for part, where in parts:
        if len(S[where]):
            yield Direction(
                **by_name(found[where].mean(0).tolist()),
                module=module,
                adapter=adapter,
                merged=merge,
                part=part,
                repeated=bool(_repeats(S)[where].any() or _repeats(T)[: len(S)][where].any()),
                weight=float(S[where].square().sum()),
            )


def assignment(similarity: Float[Tensor, "k l"]) -> Int[Tensor, " k"]:
    """For every row its column under the matching with the greatest sum, -1 where it has none.

    Raises:
        ModuleNotFoundError: scipy is not installed.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(similarity.numpy(), maximize=True)
    found = torch.full((len(similarity),), -1)
    found[torch.from_numpy(rows)] = torch.from_numpy(columns)
    return found


def _fates(task: SVD, merged: CoreUpdate, match: Matching) -> Float[Tensor, "k measure"]:
    """One row for each direction, the columns being MEASURES."""
    k = len(task.S)
    left = task.U.T @ merged.svd.U
    right = task.Vh @ merged.svd.Vh.T
    both = left * right
    index = torch.arange(k).where(torch.arange(k) < len(merged.svd.S), torch.tensor(-1))
    of_left, of_right, of_both = match(left.abs()), match(right.abs()), match(both)
    answers = merged.delta @ task.Vh.T
    along = (task.U * answers).sum(0)
    loud = answers.norm(dim=0)
    heard = loud > ROUNDING * merged.delta.norm()
    sizes = merged.svd.S.expand(k, -1) / task.S[:, None]
    columns = (
        _at(left.abs(), index),
        _at(right.abs(), index),
        _at(both, index),
        _at(left.abs(), of_left),
        _at(right.abs(), of_right),
        _at(both, of_both),
        _at(sizes, index),
        _at(sizes, of_both),
        along / task.S,
        along / loud.where(heard, torch.inf),
    )
    return torch.stack(columns, dim=1)


def _at(X: Float[Tensor, "k l"], columns: Tensor) -> Float[Tensor, " k"]:
    """One entry of every row, 0 where the column is -1."""
    padded = torch.nn.functional.pad(X, (0, 1))  # where -1 leads
    return padded.gather(1, columns.where(columns >= 0, torch.tensor(X.shape[1]))[:, None])[:, 0]


def _repeats(S: Float[Tensor, " k"]) -> Tensor:
    """Which singular values have a neighbor that is as good as equal."""
    near = (S[:-1] - S[1:]) < GAP * S[:-1]
    none = torch.zeros(1, dtype=torch.bool)
    return torch.cat([near, none]) | torch.cat([none, near])


def by_name(figures: Iterable[float]) -> dict[str, Any]:
    """The measures of a fate under their names."""
    return dict(zip(MEASURES, figures, strict=True))
