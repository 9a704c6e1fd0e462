r"""PCB-Merging: entries compete, within their adapter by size and between adapters by agreement.

    a_t = |τ_t|, clamped to its clamp and 1 - clamp quantiles
    intra_t = exp(T norm(a_t)^2)          inter_t = tanh(τ_t Σ_u τ_u)
    score_t = intra_t inter_t             s_t = norm(score_t, raised to its 1 - density quantile)
    τ = gain Σ_t w_t s_t sign(τ_t) a_t / Σ_t s_t

T is the number of adapters, norm maps smallest to 0 and largest to 1. About a share `density` of an
adapter's entries takes part, with the more weight the better they score; where none takes part the
result is 0. exp and tanh make it depend on the size of the updates: twice the adapters is not twice
the merge. Without an adapter's module its entries there are zeros, which take part in norm.

τ are the entries of A and those of B, each merged for itself, with scalings folded in by their
roots, or those of another space; the method was made for deltas. The authors look at the whole
model as one vector (scope model; in factor space, one of all A and one of all B); scope module
takes quantiles and norms within each module. Density, clamp and gain are the constants of their
script; what they call the PCB ratio is the density here, and λ the gain.

Source: Du et al., Parameter Competition Balancing, NeurIPS 2024, arXiv:2410.02396; released code,
pcb-merging.py of duguodong7/pcb-merging.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...factors import Stack, Update
from .._bracket import NUMPY
from .._registry import Density, method
from ._entries import (
    GAUGE_INVARIANT,
    Blocks,
    Entries,
    EntryBlock,
    Rule,
    Space,
    merge_entries,
    vectors,
)
from ._select import Positions, Vectors, select
from ._survey import check_surveyed, make_survey

Clamp = Annotated[float, Interval(ge=0, lt=0.5)]
PerAdapter = Float[Tensor, "task 1 1"]
Bounds = tuple[PerAdapter, PerAdapter, PerAdapter, PerAdapter]
"""Lowest and highest magnitude after clamping, lowest and highest score."""

_LOG2E = math.log2(math.e)


def _bounds(blocks: Blocks, settings: Mapping[str, Any]) -> Bounds:
    clamp, density = settings["clamp"], settings["density"]

    def ends(n: int) -> tuple[int, int]:
        return int(n * clamp), max(int(n * (1 - clamp) - 1), 0)

    def tail(n: int) -> tuple[int, int]:
        return max(min(int(n * (1 - density)), n - 1), 0), max(n - 1, 0)

    low, high = _pair(vectors(blocks, lambda block: torch.abs(block.x, out=block.scratch())), ends)
    floor, top = _pair(vectors(blocks, lambda block: _score(block, low, high)), tail)
    return low, high, floor, top


def _pair(vectors: Vectors, positions: Positions) -> tuple[PerAdapter, PerAdapter]:
    # [task, 2, 1]; infinity is for adapters without entries.
    pair = select(vectors, positions)[:, :, None].nan_to_num(posinf=0)
    return pair[:, :1], pair[:, 1:]


@method(
    "pcb",
    paper="Du et al., NeurIPS 2024, arXiv:2410.02396",
    gauge_invariant=GAUGE_INVARIANT,
    scale_equivariant=False,
    checked="the released arithmetic, written densely",
    survey=make_survey("scope", "model", _bounds),
)
def pcb(
    stack: Stack,
    *,
    density: Density = 0.05,
    clamp: Clamp = 1e-4,
    gain: float = 1.2,
    space: Space = "factor",
    scope: Literal["module", "model"] = "module",
    surveyed: Mapping[str, Bounds] | None = None,
) -> Update:
    """Merge by scores.

    Args:
        stack: The module's updates.
        density: Share of an adapter's entries, highest scores first, that takes part.
        clamp: Share of an adapter's magnitudes at either end that is clamped to the next one.
        gain: λ, multiplies the merge.
        space: Entries of A and of B, of the delta, of the cores, or as KnOTS aligns them.
        scope: Take quantiles within each module, or over the whole model as the authors do.
        surveyed: Quantiles over the whole model.
    """
    check_surveyed(stack, surveyed, scope == "model", "scope=model")
    settings = {"density": density, "clamp": clamp}

    def rule(entries: Entries) -> Rule:
        bounds = surveyed[entries.name] if surveyed else _bounds(entries.blocks, settings)
        low, high, floor, top = bounds

        def merge(block: EntryBlock) -> Float[Tensor, "rows cols"]:
            share = _norm(_score(block, low, high), floor, top)
            for t, rows in enumerate(block.own):
                share[t, rows:] = 0
            # The authors' guard against a sum of shares that is 0.
            shares = share.sum(0).clamp_min_(1e-12)
            clamped = _clamp(torch.abs(block.x, out=block.scratch(1)), low, high).mul_(share)
            return entries.total(clamped.mul_(torch.sign(block.x, out=share))).div_(shares)

        return merge

    gained = stack.reweighted(tuple(gain * w for w in stack.weights))
    return merge_entries(gained, space, rule, folded=True)


def _score(block: EntryBlock, low: PerAdapter, high: PerAdapter) -> Float[Tensor, "task rows cols"]:
    """Return the scores in the block's scratch memory, of which both are used."""
    x = block.x
    # Over exp(T), which norm takes out again and many adapters would make infinite.
    intra = _norm(torch.abs(x, out=block.scratch()), low, high).square_().sub_(1)
    intra = _exp2(intra.mul_(len(x) * _LOG2E))
    return intra.mul_(_tanh(torch.mul(x, x.sum(0), out=block.scratch(1))))


def _norm(
    x: Float[Tensor, "task rows cols"], low: PerAdapter, high: PerAdapter
) -> Float[Tensor, "task rows cols"]:
    """Clamp to a range and bring that to [0, 1], in place; zeros where the range is a point."""
    return _clamp(x, low, high).sub_(low).div_((high - low).where(high > low, 1))


def _clamp(
    x: Float[Tensor, "task rows cols"], low: PerAdapter, high: PerAdapter
) -> Float[Tensor, "task rows cols"]:
    """Clamp in place; by numbers, which is several times faster than by tensors."""
    for own, least, most in zip(x, low.flatten().tolist(), high.flatten().tolist(), strict=True):
        own.clamp_(least, most)
    return x


def _exp2(x: Float[Tensor, "task rows cols"]) -> Float[Tensor, "task rows cols"]:
    """Raise 2 to a power in place; by NumPy, if it can, in a quarter of the time of `torch.exp`."""
    if not x.is_cpu or x.dtype not in NUMPY:
        return x.exp2_()
    np.exp2(x.numpy(), out=x.numpy())
    return x


def _tanh(x: Float[Tensor, "task rows cols"]) -> Float[Tensor, "task rows cols"]:
    """Take the hyperbolic tangent in place, x (1 - x^2 / 3 + ...), which costs most of a score.

    Products of two entries of updates are far below 1, and where x^2 / 3 is half a rounding of 1
    at most, x is the result.
    """
    if not x.numel():
        return x
    low, high = x.aminmax()
    largest = max(-low.item(), high.item())
    return x if largest**2 / 3 < torch.finfo(x.dtype).eps / 2 else x.tanh_()
