r"""RobustMerge: prune both factors, then give each direction back what pruning took.

    Â_t = the largest entries of A_t        B̂_t = the largest entries of B_t
    s_t[i] = Σ_j |A_t[i,j]| / Σ_j |Â_t[i,j]|, raised to the clamp quantile of its own adapter
    A = gain_A Σ_t w_t Â_t                  B = gain_B Σ_t (w_t s_t / Σ_u w_u s_u) B̂_t

Directions that lose more to pruning are lifted more, so that the weak ones survive the sum. This is
the arithmetic of the authors' released code: a product of sums, of the input rank. Cross terms
B_t A_u between adapters are part of it, so it is meant for adapters whose A's share an
initialization (`robustmerge show` tells). With the released gains an update is multiplied by 4.

Thresholds and scales are taken at each adapter's own rank. A direction whose row of A is pruned
whole has no share (the released code writes NaN there), nor has one that an adapter of smaller rank
lacks.

Source: Zeng et al., RobustMerge, NeurIPS 2025, arXiv:2502.17159, section 4; released code,
llava/model/builder.py of AuroraZengfh/RobustMerge, whose constants are the defaults.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Factors, Noted, Stack
from .._registry import Density, Quantile, method
from ._sparse import keep_largest


@method(
    "robustmerge",
    paper="Zeng et al., NeurIPS 2025, arXiv:2502.17159 (released code)",
    gauge_invariant=False,
    checked="outputs of the released arithmetic (golden files), 1e-6 in float32",
)
def robustmerge(
    stack: Stack,
    *,
    density: Density = 0.2,
    clamp: Quantile = 0.8,
    gain_A: float = 2.0,
    gain_B: float = 2.0,
    prune: bool = True,
    scaling: bool = True,
    normalize: bool = True,
    scale_from: Literal["inter", "A", "B", "both"] = "inter",
) -> Noted:
    """Merge the factors with complementary scaling.

    Args:
        stack: The module's updates.
        density: Share of each factor's entries that is kept, largest first.
        clamp: Quantile of an adapter's scales below which they are raised to it; 0 for no clamp.
        gain_A: Multiplies the merged A.
        gain_B: Multiplies the merged B.
        prune: Prune at all; off, every scale is 1.
        scaling: Scale at all; off, A is a plain sum and B a plain mean.
        normalize: Divide the scales by their sum over adapters.
        scale_from: Whose loss is made good, and where. inter is the method: A's loss per direction,
            on B. A, B and both are the paper's Table 7: each factor's loss per input or output
            coordinate, on itself.
    """
    density = density if prune else 1.0
    # Pruned one by one, as they are summed: so little memory stays in the processor's cache.
    A: Iterable[Tensor] = (largest(f.A, density) for f in stack.factors)
    B: Iterable[Tensor] = (largest(f.B, density) for f in stack.factors)
    if scaling and scale_from in ("A", "both"):
        turned = [f.A.T for f in stack.factors]
        A = [a.T for a in _compensate(turned, [a.T for a in A], clamp, normalize)]
    if scaling and scale_from in ("B", "both"):
        B = _compensate([f.B for f in stack.factors], list(B), clamp, normalize)

    rank, like = max(stack.ranks), stack.factors[0].A
    sum_A, rows = like.new_zeros(rank, stack.shape[1]), []
    for f, a, weight in zip(stack.factors, A, stack.weights, strict=True):
        rows.append((f.A.abs().sum(1), a.abs().sum(1)))
        sum_A[: f.rank].add_(a, alpha=abs(weight))
    full, left = (torch.stack([_pad(x, rank) for x in xs]) for xs in zip(*rows, strict=True))
    inter = scaling and scale_from == "inter"
    shares = _lost(full, left, clamp) if inter else (left > 0).to(left.dtype)
    sum_B = like.new_zeros(stack.shape[0], rank)
    for f, b, share in zip(stack.factors, B, _weigh(stack, shares, normalize), strict=True):
        sum_B[:, : f.rank].addcmul_(b, share[: f.rank])
    return Noted(Factors(gain_A * sum_A, gain_B * sum_B), _notes(left, stack.ranks))


def _weigh(
    stack: Stack, shares: Float[Tensor, "task rank"], normalize: bool
) -> Float[Tensor, "task rank"]:
    """Each adapter's weight times its shares; normalized, they sum to 1 over adapters."""
    ws = shares.new_tensor(stack.weights)[:, None] * shares
    if not normalize:
        return ws
    total = ws.abs().sum(0)
    return (ws / total).where(total > 0, 0)


def prune_factors(factors: Factors, density: float) -> Factors:
    """Keep the largest entries of A and of B."""
    return Factors(largest(factors.A, density), largest(factors.B, density))


def largest(x: Float[Tensor, "a b"], density: float) -> Float[Tensor, "a b"]:
    """Keep the largest entries.

    The released threshold is the int(n (1 - density))-th smallest magnitude, itself kept, so that
    one entry more than the density says survives.
    """
    return keep_largest(x, x.numel() - int(x.numel() * (1 - density)) + 1)


def losses(
    full: Float[Tensor, "n d"], kept: Float[Tensor, "n d"], clamp: float = 0.0
) -> Float[Tensor, " n"]:
    """How many times pruning shrank each row, in L1; 0 for a row of which nothing is left.

    Rows below the clamp quantile of all rows that are left are raised to it.
    """
    return _lost(full.abs().sum(1), kept.abs().sum(1), clamp)


def _lost(
    full: Float[Tensor, "*task n"], left: Float[Tensor, "*task n"], clamp: float
) -> Float[Tensor, "*task n"]:
    """The same from the rows' L1 norms, for any number of adapters."""
    lost = full / left  # infinite or NaN, so sorted last, where nothing is left
    if clamp > 0:
        alive = (left > 0).sum(-1, keepdim=True)
        floor = (alive.double() * clamp).long().clamp_max(left.shape[-1] - 1)
        lost = lost.maximum(lost.sort(-1).values.gather(-1, floor))
    return lost.where(left > 0, 0)


def _compensate(
    full: list[Float[Tensor, "n _"]],
    kept: list[Float[Tensor, "n _"]],
    clamp: float,
    normalize: bool,
) -> list[Float[Tensor, "n _"]]:
    """Each factor's rows lifted by what they lost; normalized, the mean over adapters is 1."""
    s = torch.stack([losses(f, k, clamp) for f, k in zip(full, kept, strict=True)])
    if normalize:
        s = (len(s) * s / s.sum(0)).where(s.sum(0) > 0, 0)
    return [k * x[:, None] for k, x in zip(kept, s, strict=True)]


def _pad(x: Float[Tensor, "... n"], rank: int) -> Float[Tensor, "... rank"]:
    return torch.nn.functional.pad(x, (0, rank - x.shape[-1])) if x.shape[-1] < rank else x


def _notes(left: Float[Tensor, "task rank"], ranks: tuple[int, ...]) -> tuple[str, ...]:
    dead = [
        f"direction {i} of adapter {t + 1}"
        for t, (row, rank) in enumerate(zip(left.tolist(), ranks, strict=True))
        for i in range(rank)
        if row[i] == 0
    ]
    return (f"pruned whole, no part in the merge: {', '.join(dead)}",) if dead else ()
