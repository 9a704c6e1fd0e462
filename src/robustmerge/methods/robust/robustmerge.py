r"""RobustMerge: prune both factors, then give each direction back what pruning took.

    Â_t = the largest entries of A_t        B̂_t = the largest entries of B_t
    S_t[i] = Σ_j |A_t[i,j]| / Σ_j |Â_t[i,j]|, raised to the clamp quantile of its own adapter
    A = gain_A Σ_t w_t Â_t                  B = gain_B Σ_t (w_t S_t / Σ_u w_u S_u) B̂_t

Directions that lose more to pruning are lifted more, so that the weak ones survive the sum. This is
the arithmetic of the authors' released code: a product of sums, of the input rank. Cross terms
B_t A_u between adapters are part of it, so it is meant for adapters whose A's share an
initialization (`robustmerge show` reports it). With the released gains an update is multiplied
by 4.

Thresholds and scales are taken at each adapter's own rank. A direction whose row of A is pruned
completely has no share (the released code writes NaN there); nor has a direction beyond the rank of
a smaller adapter. `robustmerge-ablation` switches the parts of the method off, one by one.

Source: Zeng et al., RobustMerge, NeurIPS 2025, arXiv:2502.17159, section 4; released code,
llava/model/builder.py of AuroraZengfh/RobustMerge, whose constants are the defaults.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Factors, Noted, Stack
from .._registry import Density, Quantile, method
from ._prune import note_pruned, prune_factors, row_norms, scales


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
) -> Noted:
    """Merge the factors with complementary scaling.

    Args:
        stack: The module's updates.
        density: Share of each factor's entries that is kept, largest first.
        clamp: Quantile of an adapter's scales below which they are raised to it; 0 for no clamp.
        gain_A: Multiplies the merged A.
        gain_B: Multiplies the merged B.
    """
    pruned = [prune_factors(f, density) for f in stack.factors]  # Â_t, B̂_t
    S = complementary_scaling(stack.factors, pruned, clamp)  # [task, rank]
    shares = normalize_across_tasks(S, stack.weights)  # [task, rank]
    merged = product_of_sums(pruned, stack.weights, shares)
    return Noted(Factors(gain_A * merged.A, gain_B * merged.B), note_pruned(S, stack.ranks))


def complementary_scaling(
    full: Sequence[Factors], pruned: Sequence[Factors], clamp: float
) -> Float[Tensor, "task rank"]:
    """Return S: how many times pruning shrank each row of A; 0 where nothing is left of it."""
    rank = max(f.rank for f in full)
    before = torch.stack([row_norms(f.A, rank) for f in full])  # [task, rank]
    left = torch.stack([row_norms(f.A, rank) for f in pruned])
    return scales(before, left, clamp)


def normalize_across_tasks(
    S: Float[Tensor, "task rank"], weights: Sequence[float]
) -> Float[Tensor, "task rank"]:
    """Return the share of each adapter in a direction; they sum to 1 over adapters."""
    weighted = S.new_tensor(weights)[:, None] * S
    total = weighted.abs().sum(0)
    return (weighted / total).where(total > 0, 0)  # 0 where every adapter's row is pruned


def product_of_sums(
    pruned: Sequence[Factors], weights: Sequence[float], shares: Float[Tensor, "task rank"]
) -> Factors:
    """Return the sum of the A's, and of the B's by their shares."""
    A = shares.new_zeros(shares.shape[1], pruned[0].shape[1])  # [rank, d_in]
    B = shares.new_zeros(pruned[0].shape[0], shares.shape[1])  # [d_out, rank]
    for f, weight, share in zip(pruned, weights, shares, strict=True):
        A[: f.rank].add_(f.A, alpha=abs(weight))  # its sign is in the share
        B[:, : f.rank].addcmul_(f.B, share[: f.rank])
    return Factors(A, B)
