r"""RobustMerge ablations: the method without pruning, scaling or normalization.

    prune off         Â_t = A_t, B̂_t = B_t, S_t = 1                                    (table 6)
    scaling off       A = gain_A Σ_t w_t Â_t, B = gain_B Σ_t (w_t / Σ_u w_u) B̂_t       (table 6)
    normalize off     B = gain_B Σ_t w_t S_t B̂_t                                       (table 6)
    scale_from A      Â_t[:, j] times S_t[j] = Σ_i |A_t[i,j]| / Σ_i |Â_t[i,j]|         (table 7)
    scale_from B      B̂_t[i, :] times S_t[i] = Σ_j |B_t[i,j]| / Σ_j |B̂_t[i,j]|         (table 7)

With everything on, and scales from A to B across the rank (`inter`), it is `robustmerge`. The
individual scales of table 7 are of a factor's own input or output coordinates; normalized, their
mean over the adapters is 1.

Source: Zeng et al., RobustMerge, NeurIPS 2025, arXiv:2502.17159, tables 6 and 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Factors, Noted, Stack
from .._registry import Density, Quantile, method
from ._prune import note_pruned, prune_factors, scales
from .robustmerge import complementary_scaling, normalize_across_tasks, product_of_sums


@method(
    "robustmerge-ablation",
    paper="Zeng et al., NeurIPS 2025, arXiv:2502.17159 (tables 6 and 7)",
    gauge_invariant=False,
    checked="the definitions, written densely",
)
def robustmerge_ablation(
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
    """Merge the factors with some parts of RobustMerge.

    Args:
        stack: The module's updates.
        density: Share of each factor's entries that is kept, largest first.
        clamp: Quantile of an adapter's scales below which they are raised to it; 0 for no clamp.
        gain_A: Multiplies the merged A.
        gain_B: Multiplies the merged B.
        prune: Prune at all; off, every scale is 1.
        scaling: Scale at all; off, A is a plain sum and B a plain mean.
        normalize: Divide the scales by their sum over adapters.
        scale_from: From which factor the scales come, and to which they go. inter is the method:
            from A per direction, to B. A, B and both are the paper's table 7: from each factor per
            input or output coordinate, to itself.
    """
    full = stack.factors
    pruned = [prune_factors(f, density if prune else 1.0) for f in full]
    S = complementary_scaling(full, pruned, clamp)  # [task, rank]
    if not scaling or scale_from != "inter":
        S = (S > 0).to(S.dtype)  # no scale, and still no part for rows pruned completely
    weighted = S.new_tensor(stack.weights)[:, None] * S
    shares = normalize_across_tasks(S, stack.weights) if normalize else weighted

    A, B = [f.A for f in pruned], [f.B for f in pruned]
    if scaling and scale_from in ("A", "both"):
        # The columns of A are the rows of its transpose.
        columns = scale_rows([f.A.T for f in full], [a.T for a in A], clamp, normalize)
        A = [a.T for a in columns]
    if scaling and scale_from in ("B", "both"):
        B = scale_rows([f.B for f in full], B, clamp, normalize)
    scaled = [Factors(a, b) for a, b in zip(A, B, strict=True)]
    merged = product_of_sums(scaled, stack.weights, shares)
    return Noted(Factors(gain_A * merged.A, gain_B * merged.B), note_pruned(S, stack.ranks))


def scale_rows(
    full: Sequence[Float[Tensor, "n _"]],
    pruned: Sequence[Float[Tensor, "n _"]],
    clamp: float,
    normalize: bool,
) -> list[Float[Tensor, "n _"]]:
    """Multiply each factor's rows by their scales; normalized, these have mean 1 over adapters."""
    before = torch.stack([x.abs().sum(1) for x in full])  # [task, n]
    left = torch.stack([x.abs().sum(1) for x in pruned])
    S = scales(before, left, clamp)
    if normalize:
        S = (len(S) * S / S.sum(0)).where(S.sum(0) > 0, 0)
    return [x * s[:, None] for x, s in zip(pruned, S, strict=True)]
