r"""SCE: select entries on which adapters differ, calculate coefficients, erase minority signs.

    τ̂_t = τ_t where the variance over adapters is among the largest, otherwise 0          select
    η_t = Σ_j τ̂_t[j]^2 / Σ_u Σ_j τ̂_u[j]^2                                            calculate
    γ = sign(Σ_t τ̂_t)                                                                     erase
    τ = Σ_t η_t τ̂_t [sign τ̂_t = γ] / Σ_t η_t [sign τ̂_t = γ]

τ_t are the updates, weights included. Adapters that changed more count for more, per module and by
themselves, without coefficients to tune. Of n entries with any variance int(n density) are
selected; equal variances at the threshold are all kept. Density 1 selects all, as mergekit does by
default; below 1, nothing is left of what all adapters agree on, and nothing at all of
a single one. A draw counts as +.

mergekit, whose arithmetic this is, takes equal coefficients where the mean squares of all adapters
add up to less than 1e-6, which those of low-rank updates often do, and divides by 1e-6 at least.
Both depend on the size of the updates and are left out here.

τ are the entries of A and those of B, each merged for itself with weights and scalings shared out
by their roots, or those of another space; the method was made for deltas.

Source: Wan et al., FuseChat, 2024, arXiv:2408.07990; mergekit, merge_methods/sce.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from .._registry import Density, method
from ._entries import GAUGE_INVARIANT, Entries, EntryBlock, Rule, Space, merge_entries
from ._select import Vectors, select
from ._signs import agreeing, majority, positive

_TINY = torch.finfo(torch.float64).tiny


@method(
    "sce",
    paper="Wan et al., 2024, arXiv:2408.07990",
    gauge_invariant=GAUGE_INVARIANT,
    checked="the worked example; mergekit's sce",
)
def sce(stack: Stack, *, density: Density = 1.0, space: Space = "factor") -> Update:
    """Merge by coefficients and signs.

    Args:
        stack: The module's updates.
        density: Share of entries that is selected, largest variance first.
        space: Entries of A and of B, of the delta, of the cores, or as KnOTS aligns them.
    """

    def rule(entries: Entries) -> Rule:
        selected = _make_selection(entries, density)
        squares = _squares(entries, selected if density < 1 else None)
        coefficients = (squares / squares.sum().clamp_min(_TINY)).to(entries.weights)

        def merge(block: EntryBlock) -> Float[Tensor, "rows cols"]:
            x = selected(block)
            size, sign = agreeing(x, majority(x))
            total = torch.tensordot(coefficients, positive(size), dims=1)
            merged: Tensor = torch.tensordot(coefficients, size, dims=1).mul_(sign)
            return merged.div_(total.where(total > 0, 1))

        return merge

    return merge_entries(stack, space, rule)


def _make_selection(entries: Entries, density: float) -> Callable[[EntryBlock], Tensor]:
    if density == 1:
        return lambda block: entries.weighted(block.x)

    def variances() -> Iterator[list[Tensor]]:
        for block in entries.blocks():
            yield [_variance(entries.weighted(block.x)).flatten()]

    varying = sum(int(x.count_nonzero()) for (x,) in variances())
    keep = int(varying * density)
    floor = select(Vectors(variances), lambda n: (n - keep,))

    def selected(block: EntryBlock) -> Float[Tensor, "task rows cols"]:
        x = entries.weighted(block.x)
        return x * (_variance(x) >= floor).to(x.dtype)

    return selected


def _variance(x: Float[Tensor, "task rows cols"]) -> Float[Tensor, "rows cols"]:
    # Many times faster than `torch.var` over so few.
    return (x - x.mean(0)).square().mean(0)


def _squares(
    entries: Entries, selected: Callable[[EntryBlock], Tensor] | None
) -> Float[Tensor, " task"]:
    """Return the sum of squares of each adapter's selected entries, or of all, in float64."""
    if selected is None and entries.norms is not None:
        return (entries.norms() * entries.weights.double()).square()
    of = selected or (lambda block: entries.weighted(block.x))
    energy = torch.zeros(len(entries.weights), dtype=torch.float64, device=entries.weights.device)
    for block in entries.blocks():
        # Of a row in its own type, of the rows in float64.
        energy += torch.linalg.vector_norm(of(block), dim=2).double().square().sum(1)
    return energy
