r"""Similarity and conflict of every two adapters in one module.

    cosine       ⟨Δ_s, Δ_t⟩ / ‖Δ_s‖ ‖Δ_t‖
    inputs       mean squared cosine of the principal angles of the input spaces (right singular
                 vectors); by chance max(r_s, r_t) / d_in
    outputs      the same of the output spaces, by chance max(r_s, r_t) / d_out
    A cosine     cosine of the entries of A_s and A_t: near 1 where adapters share an initialization
                 and stayed close to it (1 - the cosine is their drift), near 0 where they do not.
                 It depends on the files' coordinates, in which factor-wise methods work; the
                 subspace overlaps do not.
    sign conflict   share of the sampled entries, zero in neither, whose signs disagree
    weighted        the same, each entry with weight min(|x|, |y|), the magnitude that can cancel

Independent random signs give 1/2 in both conflicts, whatever the magnitudes. Principal angles are
those of Björck & Golub 1973; sign conflict is that of TIES (arXiv:2306.01708), who trim entries
first, which is not done here. Where an update is zero, its figures are None.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from ..factors import Factors
from .core_updates import CoreSpace, share, subspace_overlap


@dataclass(frozen=True)
class PairOverlap:
    """Two adapters in one module.

    Attributes:
        module: The module.
        first: The first adapter.
        second: The second adapter.
        cosine: Cosine of the updates.
        inputs: Overlap of the input subspaces.
        inputs_chance: Overlap of unrelated input subspaces.
        outputs: Overlap of the output subspaces.
        outputs_chance: Overlap of unrelated output subspaces.
        A_cosine: Cosine of the entries of the A's, None if the ranks differ.
        sign_conflict: Share of entries whose signs disagree.
        weighted_sign_conflict: The same share, weighted by the magnitude that can cancel.
        weight: Product of the norms.
    """

    module: str
    first: str
    second: str
    cosine: float | None
    inputs: float | None
    inputs_chance: float | None
    outputs: float | None
    outputs_chance: float | None
    A_cosine: float | None
    sign_conflict: float | None
    weighted_sign_conflict: float | None
    weight: float


def compare_pairs(
    module: str, names: tuple[str, ...], space: CoreSpace, entries: Float[Tensor, "task m n"]
) -> Iterator[PairOverlap]:
    """Compare every two adapters; `entries` are those of `values.sample_entries`."""
    d_out, d_in = space.shape
    for s, t in combinations(range(len(names)), 2):
        first, second = space.tasks[s], space.tasks[t]
        weight = (first.energy * second.energy) ** 0.5
        larger = max(first.rank, second.rank)
        nonzero = min(first.rank, second.rank) > 0
        yield PairOverlap(
            module,
            names[s],
            names[t],
            cosine=share(float((first.delta * second.delta).sum()), weight),
            inputs=subspace_overlap(first.svd.Vh.T, second.svd.Vh.T),
            inputs_chance=larger / d_in if nonzero else None,
            outputs=subspace_overlap(first.svd.U, second.svd.U),
            outputs_chance=larger / d_out if nonzero else None,
            A_cosine=_entry_cosine(first.factors, second.factors),
            sign_conflict=_sign_conflict(entries[s], entries[t], weighted=False),
            weighted_sign_conflict=_sign_conflict(entries[s], entries[t], weighted=True),
            weight=weight,
        )


def _entry_cosine(first: Factors, second: Factors) -> float | None:
    if first.rank != second.rank:
        return None
    return share(float((first.A * second.A).sum()), float(first.A.norm() * second.A.norm()))


def _sign_conflict(x: Tensor, y: Tensor, *, weighted: bool) -> float | None:
    smaller = torch.minimum(x.abs(), y.abs())  # the magnitude that can cancel
    weights = smaller if weighted else (smaller > 0).double()
    return share(float(weights[x * y < 0].sum()), float(weights.sum()))
