r"""The leading singular directions of a dense matrix, and what they hold of its energy.

Large matrices are decomposed in a block Krylov space (`krylov.py`), since the spectra of full
fine-tunes are flat. It stops growing where the growth of the captured energy that is still to come
is below 1e-7 of the energy; the share that is reported is that of the directions which are
returned, exactly.

A matrix whose smaller side is up to 512, a rank above an eighth of the smaller side, and rules that
need every value go by the eigenvalues of the smaller Gram matrix in float64.

Cost of a 4096 x 11008 matrix: at rank 64, up to 16 products with 80 columns on either side, 0.3
TFLOP in float32; by the Gram matrix 0.4 TFLOP in float64 and an eigendecomposition of 4096.
Memory beyond the matrix: the space, up to 1280 (d_out + d_in) float32 values at rank 64, 80 MB; by
the Gram matrix about 5 d² float64 values, 700 MB.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..krylov import KrylovSpace
from ..linalg import SVD
from .ranks import Number, RankRule, SingularValues

_EXACT = 512
"""Smaller side up to which the Gram matrix is faster."""
_SHARE_OF_SIDE = 8
"""A Krylov space for more than a part of 1/8 of all directions costs more than the Gram matrix."""
_SPARE = 16
"""Columns of a block beyond the rank: the more, the further the last direction is separated."""
_STEPS = 40
_PACE = 2
"""Steps after which the captured energy is looked at; its eigenvalues cost as much as a step."""
_TIGHT, _LOOSE = 1e-7, 1e-3
"""Growth of the captured share that may be missing: in a result, and while a rank is searched."""
_BAND = 512
"""Columns that are brought to float64 at once."""


def decompose(D: Float[Tensor, "d_out d_in"], rule: RankRule) -> tuple[SVD, int]:
    """Return leading directions of a matrix, and how many of them the rule keeps.

    Args:
        D: The matrix, float32 or float64.
        rule: The rule.
    """
    if D.shape[0] > D.shape[1]:
        turned, rank = decompose(D.T, rule)
        return SVD(turned.Vh.T, turned.S, turned.U.T, turned.energy), rank
    energy, k = energy_of(D), rule.first
    while k is not None and len(D) > _EXACT and _SHARE_OF_SIDE * k <= len(D):
        decided = _decide(D, rule, k, energy)
        if decided is not None:
            return decided
        k *= 2
    return _by_gram(D, rule, energy)


def decompose_exactly(D: Float[Tensor, "d_out d_in"], rule: RankRule) -> tuple[SVD, int]:
    """Do as `decompose` does, by all eigenvalues, so that single directions are exact, too."""
    if D.shape[0] > D.shape[1]:
        turned, rank = decompose_exactly(D.T, rule)
        return SVD(turned.Vh.T, turned.S, turned.U.T, turned.energy), rank
    return _by_gram(D, rule, energy_of(D))


def _decide(
    D: Float[Tensor, "m n"], rule: RankRule, most: int, energy: float
) -> tuple[SVD, int] | None:
    """Return the directions that a rule keeps, None where it asks for more than these many.

    Where it may ask for more, a rough look comes first.
    """
    result = None
    for tolerance in (_TIGHT,) if isinstance(rule, Number) else (_LOOSE, _TIGHT):
        decomposed = _krylov(D, most, energy, tolerance)
        if decomposed is None:
            return None
        rank = rule.choose(SingularValues(decomposed.S, energy, (D.shape[0], D.shape[1])))
        if rank is None:
            return None
        result = decomposed, rank
    return result


def energy_of(D: Float[Tensor, "d_out d_in"]) -> float:
    """Return the sum of squares, in float64 by bands of rows."""
    return math.fsum(float(band.double().square().sum()) for band in torch.split(D, _BAND))


def _krylov(D: Float[Tensor, "m n"], rank: int, energy: float, tolerance: float) -> SVD | None:
    """Return the leading directions of a wide matrix from a block Krylov space.

    None where the directions hold less than the space does, which only rounding could cause.
    """
    space = KrylovSpace(D, rank + _SPARE)
    captured: list[float] = []
    for step in range(1, _STEPS + 1):
        space.grow()
        if space.full or step % _PACE == 0:
            captured.append(space.captured(rank) / energy)
            if space.full or _missing(captured) < tolerance:
                break
    U = torch.linalg.qr(space.basis.double() @ space.best(rank)).Q  # [m, rank]
    # Through D again: the energy of these very directions, however they were obtained.
    u, S, Vh = torch.linalg.svd((U.to(D.dtype).T @ D).double(), full_matrices=False)
    if float(S.square().sum()) / energy < captured[-1] - 10 * _TIGHT:
        return None
    return SVD(U @ u, S, Vh, energy)


def _missing(captured: list[float]) -> float:
    """Return the share that further steps would add, if growth goes on falling as it fell last."""
    rest = 1 - captured[-1]
    if len(captured) < 3:
        return rest
    before, growth = captured[-2] - captured[-3], captured[-1] - captured[-2]
    if growth <= 0:
        return 0.0
    ratio = min(growth / before, 0.99) if before > 0 else 0.99
    return min(growth * ratio / (1 - ratio), rest)


def _by_gram(D: Float[Tensor, "m n"], rule: RankRule, energy: float) -> tuple[SVD, int]:
    """Return the directions that a rule keeps, from all eigenvalues of D Dᵀ."""
    gram = torch.zeros(len(D), len(D), dtype=torch.float64)
    for band in torch.split(D, _BAND, dim=1):
        wide = band.double()  # [m, band]
        gram.addmm_(wide, wide.T)
    values, vectors = torch.linalg.eigh(gram)
    S = values.flip(0).clamp(min=0).sqrt()
    rank = rule.choose(SingularValues(S, energy, (D.shape[0], D.shape[1])))
    assert rank is not None, "all values determine a rank"
    U = vectors.flip(1)[:, :rank]
    bands = [U.T @ band.double() for band in torch.split(D, _BAND, dim=1)]
    u, S, Vh = torch.linalg.svd(torch.cat(bands, 1), full_matrices=False)
    return SVD(U @ u, S, Vh, energy), rank
