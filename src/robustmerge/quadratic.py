r"""Quadratic measures of an error in core space: their minima, and their best fits of low rank.

    q(X) = tr(X E X^T) + Σ_t tr(P_t^T X G_t X^T P_t)          X: [p, q]

E says how much an error counts by the inputs it answers to, wherever its outputs go; G_t how much
more it counts in the output directions P_t. One-sided least squares, such as RegMean's, have E
alone. The gradient of q / 2 is H(X) = X E + Σ_t P_t P_t^T X G_t.

A method whose update M minimizes an objective that is q(X - M) and a constant does not want M cut
to rank r by its singular values, which is the best fit where all errors count alike. The best fit
in q is another. With E alone it is closed: the singular value decomposition of M E^½, times E^-½.
Otherwise it is X = U V^T of rank r, solved for U and for V in turn, from the
closed form for the mean of the measure on either side.

All of it is for many problems of one size at once, along leading axes, since small matrices cost
less by the dozen; each is solved as if it were alone.

Solutions in turn are slow where the spectrum is flat. So each is left after two steps of conjugate
gradients, since the other side moves it again, and gone beyond by half of what they moved
(over-relaxation, which lowers a convex quadratic too). Eight rounds of that are at the objective of
20 rounds of exact solutions, at a quarter of the arithmetic.

Cost: H takes 4 R q (p + q) operations for the ranks' sum R; a minimum takes about as many steps as
the square root of how unequal E and E + Σ_t G_t are. A fit has at most 10 rounds of six H of
rank r.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

_STEPS, _FEW_STEPS = 200, 2
"""Of conjugate gradients at most: to a minimum, and in a solution that another one follows."""
_STILL, _NEARLY = 1e-11, 1e-6
"""Norms of the residual at which conjugate gradients stop, as shares of the right-hand side's: of a
minimum, and of a fit's."""
_ROUNDS = 10
_BEYOND = 1.5
"""How far a solution that another one follows goes, in lengths of its own; up to 2 is no worse."""
_ENOUGH = 1e-6
"""Relative gain of a round below which a fit is done."""
_FLAT = 1e-14
"""Share of the largest eigenvalue that a smaller one counts as, so that none is 0."""


@dataclass(frozen=True)
class Quadratic:
    """A measure of errors; H must be positive, on the errors that there are.

    Attributes:
        E: What every error counts.
        P: Output directions of each task: orthonormal and padded with zeros, or a projector.
        G: What errors in these count in addition.
    """

    E: Float[Tensor, "*problem q q"]
    P: Float[Tensor, "*problem task p r"]
    G: Float[Tensor, "*problem task q q"]

    @classmethod
    def one_sided(cls, E: Float[Tensor, "q q"], p: int) -> Quadratic:
        """Return the measure of errors of p outputs by their inputs alone."""
        return cls(E, E.new_zeros(0, p, 0), E.new_zeros(0, *E.shape))

    @classmethod
    def stack(cls, measures: Sequence[Quadratic]) -> Quadratic:
        """Return many measures of one size as one."""
        sides = zip(*((m.E, m.P, m.G) for m in measures), strict=True)
        return cls(*map(torch.stack, sides))

    def gradient(self, X: Float[Tensor, "*problem p q"]) -> Float[Tensor, "*problem p q"]:
        """Return H(X)."""
        total: Tensor = X @ self.E
        if self.P.shape[-3]:
            inside = self._columns.mT @ X  # [task·r, q]
            shape = (*self.G.shape[:-2], self.P.shape[-1], X.shape[-1])  # [task, r, q]
            parts = inside.view(shape) @ self.G
            total = total + self._columns @ parts.flatten(-3, -2)
        return total

    @cached_property
    def _columns(self) -> Float[Tensor, "*problem p task·r"]:
        """The output directions of all tasks side by side."""
        return self.P.transpose(-3, -2).flatten(-2)

    def value(self, X: Float[Tensor, "*problem p q"]) -> Float[Tensor, "*problem"]:
        """Return q(X) of every problem."""
        return _dot(X, self.gradient(X))[..., 0, 0]

    def __call__(self, X: Float[Tensor, "p q"]) -> float:
        """Return q(X)."""
        return float(self.value(X))

    @cached_property
    def _right(self) -> _Powers:
        """E + Σ_t G_t, as if every task counted in all output directions."""
        return _Powers.of(self.E + self.G.sum(-3))

    @cached_property
    def _inverse(self) -> Float[Tensor, "*problem q q"]:
        return self._right.power(-1.0)

    def _in_outputs(self, Q: Float[Tensor, "*problem p k"]) -> Quadratic:
        """Return the measure of errors that have these outputs alone; Q is orthonormal."""
        return Quadratic(self.E, Q.mT.unsqueeze(-3) @ self.P, self.G)

    def _in_inputs(self, V: Float[Tensor, "*problem q k"]) -> Quadratic:
        """Return the measure of errors that answer to these inputs alone."""
        W = V.unsqueeze(-3)
        return Quadratic(V.mT @ self.E @ V, self.P, W.mT @ self.G @ W)

    def minimum(
        self,
        wanted: Float[Tensor, "*problem p q"],
        start: Float[Tensor, "*problem p q"] | None = None,
        still: float = _STILL,
    ) -> Float[Tensor, "*problem p q"]:
        """Solve H(X) = wanted by conjugate gradients."""
        X = wanted @ self._inverse if start is None or not self.P.shape[-3] else start
        enough = still**2 * _dot(wanted, wanted)
        return self._descend(X, wanted - self.gradient(X), self._inverse, enough, _STEPS)[0]

    def _descend(
        self, X: Tensor, rest: Tensor, inverse: Tensor, enough: Tensor, steps: int
    ) -> tuple[Tensor, Tensor]:
        """Take steps of conjugate gradients, preconditioned from the right.

        Args:
            X: Where to begin.
            rest: wanted - H(X).
            inverse: The preconditioner.
            enough: Squared norm of the residual at which a problem is solved.
            steps: How many at most.

        Returns:
            X: The solution so far.
            rest: Its residual.
        """
        ready = rest @ inverse
        way, size = ready, _dot(rest, ready)
        for _ in range(steps):  # Hestenes and Stiefel's recurrence
            going = _dot(rest, rest) > enough
            if not going.any():
                break
            ahead = self.gradient(way)
            length = (size / _dot(way, ahead)).where(going, 0)
            X, rest = X + length * way, rest - length * ahead
            ready = rest @ inverse
            before, size = size, _dot(rest, ready)
            way = ready + (size / before).where(going, 0) * way
        return X, rest

    def _approach(
        self, wanted: Tensor, start: Tensor, inverse: Tensor
    ) -> tuple[Tensor, Float[Tensor, "*problem 1 1"]]:
        """Take few steps towards H(X) = wanted and go beyond; return X and <X, wanted + rest>."""
        before = wanted - self.gradient(start)
        enough = _NEARLY**2 * _dot(wanted, wanted)
        X, rest = self._descend(start, before, inverse, enough, _FEW_STEPS)
        X, rest = (a + _BEYOND * (b - a) for a, b in ((start, X), (before, rest)))
        return X, _dot(X, wanted + rest)

    def fit(
        self, M: Float[Tensor, "*problem p q"], rank: int
    ) -> tuple[Float[Tensor, "*problem p rank"], Float[Tensor, "*problem q rank"]]:
        """Return U, and V with orthonormal columns, of the least q(U V^T - M)."""
        V, wanted = self._start(M, rank), self.gradient(M)
        U, best = M @ V, M.new_zeros(*M.shape[:-2], 1, 1)
        going = torch.ones_like(best, dtype=torch.bool)
        for _ in range(_ROUNDS if self.P.shape[-3] else 0):
            narrow = self._in_inputs(V)
            ahead, _ = narrow._approach(wanted @ V, U, narrow._inverse)
            Q = torch.linalg.qr(ahead).Q
            # The inputs are the same, and so is the preconditioner.
            low, start = self._in_outputs(Q), Q.mT @ ahead @ V.mT
            flat, gain = low._approach(Q.mT @ wanted, start, self._inverse)
            V_next, R = torch.linalg.qr(flat.mT)
            U, V = (Q @ R.mT).where(going, U), V_next.where(going, V)
            going = going & (gain - best > _ENOUGH * gain)  # gain: q(M) - q(U V^T - M)
            if not going.any():
                break
            best = gain
        return self._in_inputs(V).minimum(wanted @ V, U, _NEARLY), V

    def _start(
        self, M: Float[Tensor, "*problem p q"], rank: int
    ) -> Float[Tensor, "*problem q rank"]:
        """Return the rows' directions of the closed form for the mean of either side."""
        weighted = M @ self._right.power(0.5)
        if self.P.shape[-3]:
            traces = _trace(self.G)[..., None, None]  # [task, 1, 1]
            left = (self.P * traces @ self.P.mT).sum(-3)
            left.diagonal(0, -2, -1).add_(_trace(self.E)[..., None])
            weighted = _Powers.of(left).power(0.5) @ weighted
        Vh = torch.linalg.svd(weighted, full_matrices=False).Vh[..., :rank, :]
        directions: Tensor = torch.linalg.qr(self._right.power(-0.5) @ Vh.mT).Q
        return directions


@dataclass(frozen=True)
class _Powers:
    """A symmetric matrix without negative eigenvalues, of which powers are taken: V diag(L) V^T."""

    L: Float[Tensor, "*problem n"]
    V: Float[Tensor, "*problem n n"]

    @classmethod
    def of(cls, S: Float[Tensor, "*problem n n"]) -> _Powers:
        """Decompose the matrix."""
        L, V = torch.linalg.eigh(S)
        least = (_FLAT * L.amax(-1, keepdim=True)).clamp_min(torch.finfo(L.dtype).tiny)
        return cls(L.maximum(least), V)

    def power(self, exponent: float) -> Float[Tensor, "*problem n n"]:
        """Return a power of the matrix."""
        power: Tensor = self.V * self.L.pow(exponent).unsqueeze(-2) @ self.V.mT
        return power


def _dot(X: Float[Tensor, "*problem p q"], Y: Float[Tensor, "*problem p q"]) -> Tensor:
    """Return the inner product of every problem's matrices, [*problem, 1, 1]."""
    return (X * Y).sum((-2, -1), keepdim=True)


def _trace(S: Float[Tensor, "*problem n n"]) -> Float[Tensor, "*problem"]:
    return S.diagonal(0, -2, -1).sum(-1)
