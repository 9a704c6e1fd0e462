r"""ESM: take directions from the adapters' outputs, make strong ones stronger, then orthogonal.

    P_t diag(λ_t) P_t^T = E_t (w_t Δ_t x)(w_t Δ_t x)^T      eigenvectors, x: inputs of task t
    A_t = P_t^T w_t Δ_t                                     k_t x d_in, rows of the layer's inputs
    A_t ← A_t (‖A_t‖ / mean_s ‖A_s‖)²                       polarization of tasks
    P_t ← P_t diag(v_t),  A_t ← diag(v_t) A_t               of directions: v = (λ / mean λ)^0.15,
                                                            divided by its mean
    a_j ← a_j ‖a_j‖ / mean_i ‖a_i‖                          of inputs: a_j the columns of all A_t
    Δ = σ(P) polar(P) polar(A) σ(A)                         P = [P_1 ... P_T], A = [A_1; ...; A_T]

σ is the mean of the singular values. The directions are those that the adapter's outputs use on its
own samples, rather than those of its weights. What is strong is made stronger at every level, where
most methods even it out; the polar factors then make the adapters' directions orthogonal, and all
of them equally strong.

Of the samples only the second moments of z = A_t x are needed (`gram`): the shift's are B_t G_t
B_t^T. They are not centered; whether the authors center them is not known here. λ and all norms are
compared with means, so that the number of tokens does not matter. Directions that no sample shows
are left out, and of many directions the leading d_out / T are taken, which does not bind for
adapters. The inputs' polarization is about the layer's real inputs: it is computed on R x d_in
numbers, all else in core space. T counts the updates that are not zero.

The rest of the published method is the step `layer-polarization`, and a factor searched on
validation data. The raw merge is several times as large as an adapter: use a scale rule. As in
`tsv-m`, a direction that two adapters almost share leaves a rest that is lifted to full length.

Cost: O((d_out + d_in) R^2) for the sum of ranks R; the rank of the result is at most R.

Source: ESM, CVPR 2026, arXiv:2602.20208, as in its released code.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...factors import Factors, Lifted, Stack
from ...linalg import compact_svd, core
from .._registry import method
from ..regression._statistics import statistic_of

Exponent = Annotated[float, Interval(ge=-1, le=4)]


@method(
    "esm",
    paper="ESM, CVPR 2026, arXiv:2602.20208",
    gauge_invariant=True,
    needs=("gram",),
    checked="the dense definition on the outputs themselves",
)
def esm(
    stack: Stack,
    *,
    tasks: Exponent = 2.0,
    directions: Exponent = 0.15,
    inputs: Exponent = 1.0,
) -> Factors | Lifted:
    """Merge by the directions of the outputs' shifts, polarized.

    Args:
        stack: The module's updates.
        tasks: Exponent of an adapter's size relative to the others'; 0 for no polarization.
        directions: Exponent of a direction's energy relative to the adapter's others.
        inputs: Exponent of an input's size relative to the others'.
    """
    space = core(stack)
    M = space.weighted
    present = [t for t, m in enumerate(M) if m.any()]
    if not present:
        return space.lift(torch.zeros_like(M[0]))
    most = max(stack.shape[0] // len(present), 1)
    shifts = [_shift(stack, t, space.B.R, most) for t in present]
    parts = [P.T @ M[t] for t, (P, _) in zip(present, shifts, strict=True)]  # A_t, [k, q]
    sizes = M.new_tensor([float(A.norm()) for A in parts])
    strong = (sizes / sizes.mean()).pow(tasks)
    lefts, rights = [], []
    for (P, energies), A, by in zip(shifts, parts, strong, strict=True):
        v = energies.pow(directions)  # without a mean of λ: v is divided by its own
        v = v / v.mean()
        lefts.append(P * v)
        rights.append(v[:, None] * A * by)
    rows = space.A.lift(torch.cat(rights).T).T  # [R, d_in]
    columns = rows.norm(dim=0)
    scaled = rows * (columns / columns.mean()).pow(inputs).where(columns > 0, 0)
    return Factors(_even(scaled), space.B.lift(_even(torch.cat(lefts, dim=1))))


def _shift(
    stack: Stack, adapter: int, outputs: Float[Tensor, "p R"], most: int
) -> tuple[Float[Tensor, "p k"], Float[Tensor, " k"]]:
    """Return the directions of an adapter's outputs on its own samples, and their energies."""
    R, end = sum(stack.ranks), sum(stack.ranks[: adapter + 1])
    own = slice(end - stack.ranks[adapter], end)
    L, V = torch.linalg.eigh(statistic_of(stack, adapter, "gram", R, R)[own, own])
    # Singular vectors of B_t V √L, so that small energies are not squared.
    P, S, _ = compact_svd(outputs[:, own] @ V * L.clamp_min(0).sqrt())
    return P[:, :most], S[:most].square()


def _even(X: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """Return the matrix with all singular values equal to their mean."""
    U, S, Vh = compact_svd(X)
    return U @ Vh * S.mean() if len(S) else X
