r"""One module of the walk in closed form: weighted ridge regression, exact at any rank.

    x_i   the merged model's input of the module        [d_in]
    r_i   what its update is to add there               [d_out]
    c_i   the token's weight

    minimize  Σ_i c_i ‖r_i - Δ x_i‖² + λ ‖Δ‖²    at rank k,        λ = ridge · tr(S) / d_in

    S = Σ c x xᵀ,   P = Σ c r xᵀ                    (1)
    M = P (S + λ)⁻¹                                 (2)   the solution at full rank
    Δ = U Uᵀ M,  U the k leading eigenvectors of M (S + λ) Mᵀ = F Fᵀ       (3)

(3) is the optimum at rank k, not a cut of (2): the loss differs from a constant by
‖(M - Δ)(S + λ)^½‖², whose best approximation is that of F, and F F^T = P (S + λ)⁻¹ Pᵀ.

    primal   S + λ = L Lᵀ,            F = P L⁻ᵀ                   d_in³/3
    dual     X Xᵀ = Q e Qᵀ,           F = Rᵀ Q (e / (e + λ))^½    tokens³, X and R with √c

The dual form is taken where fewer tokens have a weight than the module has inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..factors import Factors


@dataclass(frozen=True)
class Solution:
    """The update of a module.

    Attributes:
        factors: At the rank asked for, float64; a square root of each singular value on both sides.
        kept: Share of the explained targets, Σ c ‖Δ x‖² + λ ‖Δ‖², that the rank keeps.
    """

    factors: Factors
    kept: float


class Regression:
    """The sums of one module."""

    def __init__(self, d_out: int, d_in: int, tokens: int, device: torch.device) -> None:
        """Start with nothing.

        Args:
            d_out: Outputs of the module.
            d_in: Its inputs.
            tokens: How many tokens with a weight will be added.
            device: Where the sums are.
        """
        self.shape, self.dual = (d_out, d_in), tokens < d_in
        self._trace = 0.0
        self._X: list[Tensor] = []
        self._R: list[Tensor] = []
        if not self.dual:
            self._S = torch.zeros(d_in, d_in, device=device)
            self._P = torch.zeros(d_out, d_in, device=device)

    def add(
        self,
        X: Float[Tensor, "token d_in"],
        R: Float[Tensor, "token d_out"],
        c: Float[Tensor, " token"],
    ) -> None:
        """Count tokens: inputs, targets of the update, weights."""
        root = c.sqrt()[:, None]
        X, R = X * root, R * root
        self._trace += float(X.double().square().sum())
        if self.dual:
            self._X.append(X)
            self._R.append(R)
        else:
            self._S += X.T @ X
            self._P += R.T @ X

    def solve(self, ridge: float, rank: int) -> Solution:
        """Return the best update of a rank, in float64.

        Args:
            ridge: The ridge, as a share of the mean eigenvalue of S.
            rank: The rank.
        """
        if self._trace == 0:  # no input at all: nothing is asked of the module
            d_out, d_in = self.shape
            return Solution(Factors(torch.zeros(0, d_in), torch.zeros(d_out, 0)).pad(rank), 1.0)
        lam = ridge * self._trace / self.shape[1]
        M, F = self._dual(lam) if self.dual else self._primal(lam)
        U, kept = _leading(F, rank)
        return Solution(_balanced(U, U.T @ M).pad(rank), kept)

    def _primal(self, lam: float) -> tuple[Tensor, Tensor]:
        S, P = _exact(self._S), _exact(self._P)
        S.diagonal().add_(lam)
        L, failed = torch.linalg.cholesky_ex(S)
        if int(failed):  # the sums' rounding, in float32, is more than the ridge
            e, V = torch.linalg.eigh(S)
            L = torch.linalg.cholesky(V * e.clamp_min(lam) @ V.T)
        F = torch.linalg.solve_triangular(L, P.T, upper=False).T  # [d_out, d_in]
        M = torch.linalg.solve_triangular(L.T, F.T, upper=True).T
        return M, F

    def _dual(self, lam: float) -> tuple[Tensor, Tensor]:
        X, R = _exact(torch.cat(self._X)), _exact(torch.cat(self._R))
        e, Q = torch.linalg.eigh(X @ X.T)
        e = e.clamp_min(0)
        RQ = R.T @ Q  # [d_out, token]
        return (RQ / (e + lam)) @ (Q.T @ X), RQ * (e / (e + lam)).sqrt()


def _exact(x: Tensor) -> Tensor:
    """Return a tensor in float64, which Apple's devices do not have."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def _leading(F: Tensor, rank: int) -> tuple[Tensor, float]:
    """Return the leading left directions of F [d_out, n], and the share of its energy in them."""
    d_out, n = F.shape
    rank = min(rank, d_out, n)
    values, vectors = torch.linalg.eigh(F @ F.T if d_out <= n else F.T @ F)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    total = float(values.sum())
    kept = float(values[:rank].sum()) / total if total else 1.0
    if d_out <= n:
        return vectors[:, :rank], kept
    U = F @ vectors[:, :rank]
    return torch.linalg.qr(U)[0], kept  # a direction without energy is any


def _balanced(B: Tensor, A: Tensor) -> Factors:
    """Return B A with the square root of each singular value on either side; B is orthonormal."""
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    root = S.sqrt()
    return Factors(root[:, None] * Vh, (B @ U) * root)
