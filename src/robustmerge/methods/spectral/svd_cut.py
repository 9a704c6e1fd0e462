r"""SVD cut: cut every adapter to its leading directions, then sum.

    U S V^T = Δ_t                              singular value decomposition
    Δ = Σ_t w_t U_k S_k V_k^T                  k = keep · rank of Δ_t, rounded up

The baseline "compress, then sum": each adapter's best approximation of rank k (Eckart-Young). Every
adapter keeps directions, however small the update, where cutting the sum (`task-arithmetic` with
--rank) keeps the largest adapters'. Directions of different adapters still overlap; `tsv-m` makes
them orthogonal.

`keep` is a share so that adapters of different ranks lose equally much; the rank of an adapter is
its number of singular values above 1e-7 of the largest, so that unused directions are not counted.

Cost: O((d_out + d_in) r^2) per adapter of rank r.

Source: truncated SVD of each update, the compression in Gargiulo et al., Task Singular Vectors,
CVPR 2025, arXiv:2412.00081 (TSV-Compress).
"""

from __future__ import annotations

from dataclasses import replace

from ...factors import Factors, Stack
from ...linalg import concat, numerical_rank, svd
from .._registry import Density, method
from ._cut import at_least


@method(
    "svd-cut",
    paper="Gargiulo et al., CVPR 2025, arXiv:2412.00081 (TSV-Compress), summed",
    gauge_invariant=True,
    checked="the dense definition",
)
def svd_cut(stack: Stack, *, keep: Density = 0.5) -> Factors:
    """Sum the adapters' leading directions.

    Args:
        stack: The module's updates.
        keep: Share of each adapter's directions that is kept, rounded up.
    """

    def cut(update: Factors) -> Factors:
        decomposed = svd(update)
        return decomposed.cut(at_least(keep, numerical_rank(decomposed.S)))[0]

    return concat(replace(stack, factors=tuple(cut(f) for f in stack.factors)))
