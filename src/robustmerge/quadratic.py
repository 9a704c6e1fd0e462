r"""Quadratic measures of an error in core space: their minima, and their best fits of low rank.

    q(X) = tr(X E X^T) + Σ_t tr(P_t^T X G_t X^T P_t)          X: [p, q]

E says how much an error counts by the inputs it answers to, wherever its outputs go; G_t how much
more it counts in the output directions P_t. One-sided least squares, such as RegMean's, have E
alone. The gradient of q / 2 is H(X) = X E + Σ_t P_t P_t^T X G_t.

A method whose update M minimizes an objective that is q(X - M) and a constant does not want M cut
to rank r by its singular values, which is the best fit where all errors count alike. The best fit
in q is another. With E alone it is closed: the singular value decomposition of M E^½, times E^-½.
Otherwise it is X = U V^T of rank r, solved for U and for V in turn, each step exact, from the
closed form for the mean of the measure on either side.

Cost: H takes 4 R q (p + q) operations for the ranks' sum R; a minimum takes about as many steps as
the square root of how unequal E and E + Σ_t G_t are. A fit has at most 20 rounds of two solutions
of rank r.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

_STEPS = 200
_STILL, _NEARLY = 1e-11, 1e-6
"""Norms of the residual at which conjugate gradients stop, as shares of the right-hand side's: of a
minimum, and of a step that other steps follow."""
_ROUNDS = 20
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

    E: Float[Tensor, "q q"]
    P: Float[Tensor, "task p r"]
    G: Float[Tensor, "task q q"]

    @classmethod
    def one_sided(cls, E: Float[Tensor, "q q"], p: int) -> Quadratic:
        """Return the measure of errors of p outputs by their inputs alone."""
        return cls(E, E.new_zeros(0, p, 0), E.new_zeros(0, *E.shape))

    def gradient(self, X: Float[Tensor, "p q"]) -> Float[Tensor, "p q"]:
        """Return H(X)."""
        total: Tensor = X @ self.E
        if len(self.P):
            parts = self.P.mT @ X @ self.G  # [task, r, q]
            columns = self.P.permute(1, 0, 2).flatten(1)  # [p, task·r]
            total = total + columns @ parts.flatten(0, 1)
        return total

    def __call__(self, X: Float[Tensor, "p q"]) -> float:
        """Return q(X)."""
        return float((X * self.gradient(X)).sum())

    @cached_property
    def _inverse(self) -> Float[Tensor, "q q"]:
        """(E + Σ_t G_t)^-1, as if every task counted in all output directions."""
        return _power(self.E + self.G.sum(0), -1.0)

    def minimum(
        self,
        wanted: Float[Tensor, "p q"],
        start: Float[Tensor, "p q"] | None = None,
        still: float = _STILL,
    ) -> Float[Tensor, "p q"]:
        """Solve H(X) = wanted by conjugate gradients, preconditioned from the right."""
        X = wanted @ self._inverse if start is None or not len(self.P) else start
        rest = wanted - self.gradient(X)
        ready = rest @ self._inverse
        way, size = ready, (rest * ready).sum()
        enough = still**2 * wanted.square().sum()
        for _ in range(_STEPS):  # Hestenes and Stiefel's recurrence
            if rest.square().sum() <= enough:
                break
            ahead = self.gradient(way)
            length = size / (way * ahead).sum()
            X, rest = X + length * way, rest - length * ahead
            ready = rest @ self._inverse
            before, size = size, (rest * ready).sum()
            way = ready + size / before * way
        return X

    def fit(
        self, M: Float[Tensor, "p q"], rank: int
    ) -> tuple[Float[Tensor, "p rank"], Float[Tensor, "q rank"]]:
        """Return U, and V with orthonormal columns, of the least q(U V^T - M)."""
        V, wanted = self._start(M, rank), self.gradient(M)
        U, best = M @ V, 0.0
        for _ in range(_ROUNDS):
            narrow = Quadratic(V.T @ self.E @ V, self.P, V.T @ self.G @ V)
            U = narrow.minimum(wanted @ V, U, _NEARLY)
            gain = float((U * (wanted @ V)).sum())  # q(M) - q(U V^T - M)
            if gain - best <= _ENOUGH * gain or not len(self.P):
                break
            best, Q = gain, torch.linalg.qr(U).Q
            flat = Quadratic(self.E, Q.T @ self.P, self.G)
            V, R = torch.linalg.qr(flat.minimum(Q.T @ wanted, Q.T @ U @ V.T, _NEARLY).T)
            U = Q @ R.T
        return U, V

    def _start(self, M: Float[Tensor, "p q"], rank: int) -> Float[Tensor, "q rank"]:
        """Return the rows' directions of the closed form for the mean of either side."""
        right = self.E + self.G.sum(0)
        weighted = M @ _power(right, 0.5)
        if len(self.P):
            traces = self.G.diagonal(0, 1, 2).sum(1)[:, None, None]
            left = (self.P * traces @ self.P.mT).sum(0)
            left.diagonal().add_(self.E.trace())
            weighted = _power(left, 0.5) @ weighted
        Vh = torch.linalg.svd(weighted, full_matrices=False).Vh[:rank]
        directions: Tensor = torch.linalg.qr(_power(right, -0.5) @ Vh.T).Q
        return directions


def _power(S: Float[Tensor, "n n"], exponent: float) -> Float[Tensor, "n n"]:
    """Return a power of a symmetric matrix without negative eigenvalues."""
    L, V = torch.linalg.eigh(S)
    least = max(_FLAT * float(L.max()), torch.finfo(L.dtype).tiny)
    power: Tensor = V * L.clamp_min(least).pow(exponent) @ V.T
    return power
