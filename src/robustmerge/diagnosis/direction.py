r"""Overlap of an adapter's directions (u_i, σ_i, v_i) with those of a merge (û_j, σ̂_j, v̂_j).

    left    |u_i · û_j|
    right   |v_i · v̂_j|
    both    (u_i · û_j) (v_i · v̂_j), the cosine of the rank-one updates; negative where the merge
            contains the direction with the opposite sign
    ratio   σ̂_j / σ_i
    gain    u_i^T Δ v_i / σ_i, Δ the merged update: the merge's size along the direction
    answer  u_i · Δ v_i / ‖Δ v_i‖: cosine of the merge's output on v_i with the adapter's

RobustMerge (arXiv:2502.17159, figure 7) shows the similarity of corresponding singular vectors of
task and merge and the ratio of their singular values, for the largest and for the mean of the rest.
It does not define which vectors correspond, so both readings are here: by index, j = i, and by the
matching j(i) with the greatest sum (Hungarian algorithm), computed for left, right and both
separately; the matched ratio is that of both's matching. A direction without partner, such as in a
merge of lower rank, has similarity and ratio 0.

Where singular values repeat, singular vectors are not unique, and figures by index or by matching
are one choice among many: `repeated` marks them. Gain and answer do not depend on the merge's
singular vectors, and retention depends on no singular vectors; these definitions are ours.
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
"""Relative distance below which singular values count as repeated: half precision in a file (2^-11,
or 2^-8 for bfloat16) would mix their directions."""


@dataclass(frozen=True)
class DirectionOverlap:
    """Overlap of directions with a merge, as means over some directions.

    Attributes:
        left: Similarity of left singular vectors, by index.
        right: Similarity of right singular vectors, by index.
        both: Similarity of the rank-one updates, by index.
        left_matched: As `left`, by the best matching.
        right_matched: As `right`, by the best matching.
        both_matched: As `both`, by the best matching.
        ratio: Merged singular value over the adapter's, by index.
        ratio_matched: As `ratio`, by the matching of both.
        gain: Size of the merge along the direction, 1 as in the adapter.
        answer: Cosine of the merge's output on the direction's input with the adapter's.
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
        part: largest or rest.
        repeated: Whether singular values repeat, so that single directions are not unique.
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
    """Overlap of one direction, by its rank in the spectrum.

    Attributes:
        module: The module, or the projection after modules were averaged.
        adapter: The adapter.
        merged: The merge.
        index: Rank in the spectrum; 1 is the largest.
        modules: Number of averaged modules.
    """

    module: str
    adapter: str
    merged: str
    index: int
    modules: int = 1


MEASURES = tuple(field.name for field in fields(DirectionOverlap))


def follow_directions(
    module: str, adapter: str, merge: str, task: CoreUpdate, merged: CoreUpdate, match: Matching
) -> Iterator[Direction | Curve]:
    """Compare an adapter's directions with a merge; an update that is zero has none."""
    if not task.rank:
        return
    overlaps = _measure_overlaps(task.svd, merged, match)  # [k, measure]
    for i, row in enumerate(overlaps.tolist(), 1):
        yield Curve(**name_measures(row), module=module, adapter=adapter, merged=merge, index=i)
    parts: tuple[tuple[Part, slice], ...] = (("largest", slice(1)), ("rest", slice(1, None)))
    S, T = task.svd.S, merged.svd.S
    for part, some in parts:
        if len(S[some]):
            yield Direction(
                **name_measures(overlaps[some].mean(0).tolist()),
                module=module,
                adapter=adapter,
                merged=merge,
                part=part,
                repeated=bool(_repeats(S)[some].any() or _repeats(T)[: len(S)][some].any()),
                weight=float(S[some].square().sum()),
            )


def match_directions(similarity: Float[Tensor, "k l"]) -> Int[Tensor, " k"]:
    """Return for every row its column in the matching with the greatest sum, -1 for no column.

    Raises:
        ModuleNotFoundError: scipy is not installed.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(similarity.numpy(), maximize=True)
    matching = torch.full((len(similarity),), -1)
    matching[torch.from_numpy(rows)] = torch.from_numpy(columns)
    return matching


def _measure_overlaps(task: SVD, merged: CoreUpdate, match: Matching) -> Float[Tensor, "k measure"]:
    """Return one row for each direction; the columns are MEASURES."""
    k = len(task.S)
    left = task.U.T @ merged.svd.U  # [k, l], l directions of the merge
    right = task.Vh @ merged.svd.Vh.T  # [k, l]
    both = left * right
    index = torch.arange(k).where(torch.arange(k) < len(merged.svd.S), torch.tensor(-1))
    left_match, right_match, both_match = match(left.abs()), match(right.abs()), match(both)
    outputs = merged.delta @ task.Vh.T  # [p, k], the merge's output on each input direction
    along = (task.U * outputs).sum(0)  # u_i^T Δ v_i
    norms = outputs.norm(dim=0)
    nonzero = norms > ROUNDING * merged.delta.norm()
    ratios = merged.svd.S.expand(k, -1) / task.S[:, None]  # [k, l]
    columns = (
        _pick(left.abs(), index),
        _pick(right.abs(), index),
        _pick(both, index),
        _pick(left.abs(), left_match),
        _pick(right.abs(), right_match),
        _pick(both, both_match),
        _pick(ratios, index),
        _pick(ratios, both_match),
        along / task.S,
        along / norms.where(nonzero, torch.inf),
    )
    return torch.stack(columns, dim=1)


def _pick(X: Float[Tensor, "k l"], columns: Tensor) -> Float[Tensor, " k"]:
    """Return one entry of every row, 0 for column -1."""
    padded = torch.nn.functional.pad(X, (0, 1))  # a zero column for -1
    return padded.gather(1, columns.where(columns >= 0, torch.tensor(X.shape[1]))[:, None])[:, 0]


def _repeats(S: Float[Tensor, " k"]) -> Tensor:
    """Mark singular values that are nearly equal to a neighbor."""
    near = (S[:-1] - S[1:]) < GAP * S[:-1]
    none = torch.zeros(1, dtype=torch.bool)
    return torch.cat([near, none]) | torch.cat([none, near])


def name_measures(figures: Iterable[float]) -> dict[str, Any]:
    """Return figures in the order of MEASURES under their names."""
    return dict(zip(MEASURES, figures, strict=True))
