"""Everything spectral: exact singular value decompositions in the small core space.

An update of rank R lives in R output and R input directions. Thin QR of the stacked factors finds
them, and what is left is a core of R x R numbers, R being the sum of the adapters' ranks: 128 for
eight adapters of rank 16, where the layer itself has 4096 x 11008. Frobenius norms, inner products
and singular values are those of the full matrices.

All of it runs in float64: where adapters share an initialization their A's differ by little, and
that little is what distinguishes the tasks.

Panariello et al., Core Space, NeurIPS 2025, arXiv:2509.17786.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .basis import Basis
from .factors import Dense, Factors, Lifted, Stack, Update
from .krylov import KrylovSpace
from .quadratic import Quadratic

_EXACT_DENSE = 512
"""Smaller side up to which a dense update is decomposed exactly."""
_GROWTH = 1e-5
"""Growth of the captured energy by a block, as a share of it, at which a Krylov space is enough."""
_CANCELS = 1e-3
"""Share of its bound below which a squared norm is not left to Gram matrices: three digits lost."""
_APART = 1e-3
"""Share of the largest column outside the others that the least one needs: Q is right to 1e-10."""
ROUNDING = 1e-7
"""Share of the largest value below which one is rounding: the precision of float32 files."""


@dataclass(frozen=True)
class SVD:
    """Singular value decomposition U diag(S) Vh, float64, largest first.

    Attributes:
        U: Left directions.
        S: Singular values.
        Vh: Right directions.
        energy: Sum of all squared singular values, those not computed included.
    """

    U: Float[Tensor, "d_out k"]
    S: Float[Tensor, " k"]
    Vh: Float[Tensor, "k d_in"]
    energy: float

    def cut(self, rank: int) -> tuple[Factors, float]:
        """Return the best update of this rank (Eckart-Young), and the share of energy it keeps.

        The square root of each singular value goes to either side, which keeps both factors in
        the range of half-precision types.
        """
        S = self.S[:rank]
        root = S.sqrt()
        factors = Factors(root[:, None] * self.Vh[:rank], self.U[:, :rank] * root)
        return factors, _share(float(S.square().sum()), self.energy)


@dataclass(frozen=True)
class Core:
    """A stack in core space: delta_t = Q_B M_t Q_A^T exactly.

    Whatever a method does with left and right orthogonal maps, inner products and singular values
    comes out of the small M_t as it would of the full deltas.

    Attributes:
        B: Orthonormal basis of all output directions.
        M: Each adapter's core; weights are not applied.
        A: Orthonormal basis of all input directions.
        weights: The user's coefficient for each adapter.
    """

    B: Basis
    M: Float[Tensor, "task p q"]
    A: Basis
    weights: Float[Tensor, " task"]

    @property
    def weighted(self) -> Float[Tensor, "task p q"]:
        """The cores of w_t delta_t."""
        return self.M * self.weights[:, None, None]

    def lift(self, M: Float[Tensor, "p q"], measure: Quadratic | None = None) -> Lifted:
        """Return the update whose core is M, with the measure that it is cut by."""
        return Lifted(self.B, M, self.A, measure)


def core(stack: Stack) -> Core:
    """Take a stack to core space.

    Cost: O((d_out + d_in) R^2) for the sum of ranks R; memory O((d_out + d_in) R).
    """
    B, A, inside = common_bases(stack.factors)
    M = torch.stack([f.dense() for f in inside])  # [task, p, q]
    return Core(B, M, A, torch.tensor(stack.weights, dtype=M.dtype, device=M.device))


def common_bases(updates: Sequence[Factors]) -> tuple[Basis, Basis, tuple[Factors, ...]]:
    """Return bases of all output and of all input directions, and the updates in these.

    Cost: O((d_out + d_in) R^2) for the sum of ranks R.
    """
    ranks = [f.rank for f in updates]
    B = Basis.of(torch.cat([f.B for f in updates], dim=1))  # of [d_out, R]
    A = Basis.of(torch.cat([f.A for f in updates]).T)  # of [d_in, R]
    parts = zip(torch.split(B.R, ranks, 1), torch.split(A.R, ranks, 1), strict=True)
    return B, A, tuple(Factors(a.T, b) for b, a in parts)  # b: [p, rank], a: [q, rank]


def numerical_rank(S: Float[Tensor, " k"]) -> int:
    """Count the singular values that are more than rounding: above 1e-7 of the largest.

    What is below is noise, and its directions are arbitrary.
    """
    return int((ROUNDING * S.max() < S).sum()) if len(S) else 0


def compact_svd(
    X: Float[Tensor, "m n"],
) -> tuple[Float[Tensor, "m k"], Float[Tensor, " k"], Float[Tensor, "k n"]]:
    """U, S, Vh of a small matrix, without directions that are rounding (`numerical_rank`)."""
    U, S, Vh = torch.linalg.svd(X, full_matrices=False)
    k = numerical_rank(S)
    return U[:, :k], S[:k], Vh[:k]


def polar(X: Float[Tensor, "d k"]) -> Float[Tensor, "d k"]:
    """Return the nearest matrix with orthonormal columns (Procrustes): P Q^T of X = P E Q^T.

    Where the columns are linearly dependent it is not unique; then their span is kept, and the
    directions that are missing stay zero.
    """
    P, _, Qt = compact_svd(X)
    return P @ Qt


def norm(update: Update) -> float:
    """Frobenius norm of the delta; of factors without forming it."""
    if isinstance(update, Dense):
        return math.sqrt(_energy(update.delta))
    if isinstance(update, Factors):
        return _norm_of_product(update)
    return float(update.M.norm())


def _norm_of_product(update: Factors) -> float:
    """Return ‖B A‖, by tr(B^T B A A^T) unless the factors nearly cancel."""
    A, B = update.A.double(), update.B.double()
    left, right = B.T @ B, A @ A.T  # [rank, rank]
    square, bound = float((left * right).sum()), float(left.norm() * right.norm())
    if square > _CANCELS * bound:
        return math.sqrt(square)
    return float((Basis.of(B).R @ Basis.of(A.T).R.T).norm())


def inner(update: Update, other: Factors) -> float:
    """Inner product of a delta and that of factors, without forming either."""
    A, B = other.A.double(), other.B.double()
    if isinstance(update, Dense):
        return float(((update.delta.double() @ A.T) * B).sum())
    f = update if isinstance(update, Factors) else update.factors()
    return float(((f.B.double().T @ B) * (f.A.double() @ A.T)).sum())


def concat(stack: Stack) -> Factors:
    """Return the exact weighted sum of the updates, at the sum of their ranks."""
    A = torch.cat([f.A for f in stack.factors])
    B = torch.cat([f.B * w for f, w in zip(stack.factors, stack.weights, strict=True)], dim=1)
    return Factors(A, B)


def svd(update: Update, rank: int | None = None) -> SVD:
    """Decompose an update; `rank` says how many directions the caller will use at most.

    Factors and cores are decomposed exactly and without forming B @ A. Dense updates with both
    sides above 512 are decomposed to `rank` directions in a block Krylov space, grown until the
    captured energy stops growing.
    """
    if isinstance(update, Factors):
        return _svd_of_product(update, rank)
    if isinstance(update, Lifted):
        return _svd_of_core(update, rank)
    smaller = min(update.delta.shape)
    if rank is None or smaller <= _EXACT_DENSE or 2 * rank >= smaller:
        return _svd_of_matrix(update.delta.double())
    return _leading(update.delta, rank)


def fit(update: Update, rank: int) -> tuple[Factors, float]:
    """Return the update as factors of exactly this rank, and the share of its energy they keep.

    Factors that fit are returned as they are, zero-padded; others are cut to the best
    approximation. What is best, and the share kept, is by the update's own measure if it has one,
    otherwise by energy.
    """
    if isinstance(update, Factors) and update.rank <= rank:
        return update.pad(rank), 1.0
    if _size_of_measure(update, rank):
        return _fit_by_measure([update], rank)[0]
    factors, kept = svd(update, rank).cut(rank)
    return factors.pad(rank), kept


def fit_together(updates: Sequence[Update], rank: int) -> list[tuple[Factors, float]]:
    """Return what `fit` makes of each; those with a measure and cores of one size at once."""
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, update in enumerate(updates):
        alike[_size_of_measure(update, rank)].append(number)
    fitted = {number: fit(updates[number], rank) for number in alike.pop((), ())}
    for numbers in alike.values():
        results = _fit_by_measure([updates[number] for number in numbers], rank)
        fitted |= zip(numbers, results, strict=True)
    return [fitted[number] for number in range(len(updates))]


def rank_for_energy(update: Update, energy: float, most: int) -> int:
    """Smallest rank that keeps this share of the update's energy, at most `most`."""
    decomposed = svd(update, most)
    kept = decomposed.S.square().cumsum(0)
    # Rounding in the sum must not ask for one direction more than there are.
    wanted = energy * decomposed.energy * (1 - 1e-12)
    return min(int((kept < wanted).sum()) + 1, most, max(len(decomposed.S), 1))


def _size_of_measure(update: Update, rank: int) -> tuple[int, ...]:
    """Return the sizes of an update that is cut by a measure of its own; none of others."""
    if not isinstance(update, Lifted) or update.measure is None or rank >= min(update.M.shape):
        return ()
    return (*update.M.shape, *update.measure.P.shape)


def _fit_by_measure(updates: Sequence[Update], rank: int) -> list[tuple[Factors, float]]:
    """Cut cores of one size, each by its measure."""
    lifted = [u for u in updates if isinstance(u, Lifted)]
    measure = Quadratic.stack([u.measure for u in lifted if u.measure])
    M = torch.stack([u.M for u in lifted])  # [update, p, q]
    U, V = measure.fit(M, rank)
    left, S, turn = torch.linalg.svd(U, full_matrices=False)
    right = V @ turn.mT  # [update, q, rank]
    whole, lost = measure.value(M), measure.value(U @ V.mT - M)
    fitted = []
    for n, u in enumerate(lifted):
        own = SVD(u.B.lift(left[n]), S[n], u.A.lift(right[n]).T, float(S[n].square().sum()))
        kept = _share(max(float(whole[n] - lost[n]), 0.0), float(whole[n]))
        fitted.append((own.cut(rank)[0], kept))
    return fitted


def _svd_of_product(update: Factors, rank: int | None) -> SVD:
    A, B = update.A.double(), update.B.double()
    left, right = _triangle(B), _triangle(A.T)
    if left is None or right is None:
        bases = Basis.of(B), Basis.of(A.T)
        return _svd_of_core(Lifted(bases[0], bases[0].R @ bases[1].R.T, bases[1]), rank)
    U, S, Vh = torch.linalg.svd(left @ right.T)
    outputs = torch.linalg.solve_triangular(left, U[:, :rank], upper=True)
    inputs = torch.linalg.solve_triangular(right, Vh[:rank].T, upper=True)
    return SVD(B @ outputs, S[:rank], inputs.T @ A, float(S.square().sum()))


def _triangle(X: Float[Tensor, "d n"]) -> Float[Tensor, "n n"] | None:
    """Return R of X = Q R by the Gram matrix, which is a third of the work of reflections.

    Q then is X R^-1, orthonormal to 1e-16 times the square of X's condition: None where columns
    are nearly dependent, as those of adapters that share a start and moved little are.
    """
    L, failed = torch.linalg.cholesky_ex(X.T @ X)
    sizes = L.diagonal()
    if failed or not len(sizes) or sizes.min() < _APART * sizes.max():
        return None
    triangle: Tensor = L.T
    return triangle


def _svd_of_core(update: Lifted, rank: int | None) -> SVD:
    U, S, Vh = torch.linalg.svd(update.M, full_matrices=False)
    energy = float(S.square().sum())
    return SVD(update.B.lift(U[:, :rank]), S[:rank], update.A.lift(Vh[:rank].T).T, energy)


def _svd_of_matrix(delta: Float[Tensor, "d_out d_in"]) -> SVD:
    U, S, Vh = torch.linalg.svd(delta, full_matrices=False)
    return SVD(U, S, Vh, float(S.square().sum()))


def _leading(delta: Float[Tensor, "d_out d_in"], rank: int) -> SVD:
    """Leading directions by a block Krylov space."""
    if delta.shape[0] > delta.shape[1]:
        turned = _leading(delta.T, rank)
        return SVD(turned.Vh.T, turned.S, turned.U.T, turned.energy)
    space = KrylovSpace(delta, rank + max(8, rank // 2))
    before, captured = -1.0, 0.0  # no energy yet
    while captured > before * (1 + _GROWTH):
        space.grow()
        before, captured = captured, space.captured(rank)
        if space.full:
            break
    W = space.best(rank)
    U, S, Vh = torch.linalg.svd(W.T @ space.rows.double(), full_matrices=False)
    return SVD(space.basis.double() @ (W @ U), S, Vh, _energy(delta))


def _energy(delta: Float[Tensor, "d_out d_in"]) -> float:
    """Sum of squares: within a row in its own type, of the rows in float64."""
    rows = torch.linalg.vector_norm(delta, dim=1)
    return float(rows.double().square().sum())


def _share(part: float, whole: float) -> float:
    return min(part / whole, 1.0) if whole > 0 else 1.0
