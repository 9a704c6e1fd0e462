r"""How two adapters go together in one module.

    cosine       ⟨Δ_s, Δ_t⟩ / ‖Δ_s‖ ‖Δ_t‖
    inputs       mean squared cosine of the principal angles of the input spaces (right singular
                 vectors); by chance max(r_s, r_t) / d_in
    outputs      the same of the output spaces, by chance max(r_s, r_t) / d_out
    A cosine     of the entries of A_s and A_t: near 1 where adapters began at one A and have not
                 gone far from it (1 - the cosine is their drift), near 0 where they did not. It is
                 of the files' coordinates, in which factor-wise methods work; the spaces are not.
    sign conflict   share of the sampled entries, zero in neither, whose signs disagree
    weighted        the same, each entry with weight min(|x|, |y|), which is what can cancel

Independent random signs give 1/2 in both conflicts, whatever the magnitudes. Principal angles are
those of Björck & Golub 1973; sign conflict is that of TIES (arXiv:2306.01708), who trim entries
first, where here none is. Where an update is zero, what is said of it is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from ..factors import Factors
from .core_updates import CoreSpace, overlap, share


@dataclass(frozen=True)
class PairOverlap:
    """Two adapters in one module.

    Attributes:
        module: The module.
        first: The one adapter.
        second: The other.
        cosine: Of the updates.
        inputs: Likeness of the input spaces.
        inputs_chance: What unrelated input spaces have.
        outputs: Likeness of the output spaces.
        outputs_chance: What unrelated output spaces have.
        A_cosine: Of the entries of the A's, None where ranks differ.
        sign_conflict: Share of entries whose signs disagree.
        weighted_sign_conflict: The same by what can cancel.
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


def pairs(
    module: str, names: tuple[str, ...], space: CoreSpace, entries: Float[Tensor, "task m n"]
) -> Iterator[PairOverlap]:
    """Every two adapters; `entries` are those of `values.sample`."""
    d_out, d_in = space.shape
    for s, t in combinations(range(len(names)), 2):
        one, other = space.tasks[s], space.tasks[t]
        weight = (one.energy * other.energy) ** 0.5
        larger = max(one.rank, other.rank)
        there = min(one.rank, other.rank) > 0
        yield PairOverlap(
            module,
            names[s],
            names[t],
            cosine=share(float((one.delta * other.delta).sum()), weight),
            inputs=overlap(one.svd.Vh.T, other.svd.Vh.T),
            inputs_chance=larger / d_in if there else None,
            outputs=overlap(one.svd.U, other.svd.U),
            outputs_chance=larger / d_out if there else None,
            A_cosine=_cosine_of_entries(one.factors, other.factors),
            sign_conflict=_conflict(entries[s], entries[t], weighted=False),
            weighted_sign_conflict=_conflict(entries[s], entries[t], weighted=True),
            weight=weight,
        )


def _cosine_of_entries(one: Factors, other: Factors) -> float | None:
    if one.rank != other.rank:
        return None
    return share(float((one.A * other.A).sum()), float(one.A.norm() * other.A.norm()))


def _conflict(x: Tensor, y: Tensor, *, weighted: bool) -> float | None:
    at_stake = torch.minimum(x.abs(), y.abs())
    by = at_stake if weighted else (at_stake > 0).double()
    return share(float(by[x * y < 0].sum()), float(by.sum()))
