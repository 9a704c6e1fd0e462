r"""Second moments of a layer's inputs as a sketch, in one pass and without a d_in x d_in matrix.

    G = Σ x xᵀ                      [d_in d_in], never formed
    Y = Ω G = Σ (Ω x) xᵀ            Ω: orthonormal rows, drawn at random    [128 d_in]
    G ≈ Yᵀ (Y Ωᵀ)⁻¹ Y               Nyström: nowhere more than G
      ≈ Sᵀ S + diag(rest)           S: its 64 leading directions; rest: what is left of the diagonal

The diagonal Σ x² is exact. Layers with at most 128 inputs have Ω = I, so that only the cut to 64
directions is lost, and those with at most 64 lose nothing. A small multiple of Ω is added before
the inverse and taken off afterwards, which keeps rounding out of it.

Cost: 4 · 128 · d_in operations a token and 128 d_in numbers in float32 for every layer, 2 MB for
4096 inputs.

Source: Tropp, Yurtsever, Udell, Cevher, Fixed-rank approximation of a positive-semidefinite matrix
from streaming data, NeurIPS 2017, arXiv:1706.05736, algorithm 3.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..errors import MergeError
from ..statistic_kinds import SKETCHED

_DRAWN = 2 * SKETCHED
"""Rows of Ω: twice the directions that are kept."""


class InputSketch:
    """The sums of one layer.

    An embedding's input is an index, which stands for a row with a single 1.
    """

    def __init__(self, d_in: int, device: torch.device, seed: int = 0) -> None:
        self.test = _test_matrix(d_in, seed, device)  # Ω
        self.Y = torch.zeros(len(self.test), d_in, device=device)
        self.squares = torch.zeros(d_in, dtype=torch.float64, device=device)
        self.count = 0

    def add(self, X: Tensor) -> None:
        """Count some inputs: [token d_in], or indices [token]."""
        if X.ndim == 1:
            counts = torch.bincount(X, minlength=len(self.squares))
            self.squares += counts.double()
            self.Y += self.test * counts
        else:
            X = X.float()
            self.squares += X.double().square().sum(dim=0)
            self.Y += (X @ self.test.T).T @ X
        self.count += len(X)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the sketch under its names in a file.

        Raises:
            MergeError: the sums are not finite.
        """
        if not (self.Y.isfinite().all() and self.squares.isfinite().all()):
            raise MergeError(
                "the activations are NaN or infinite",
                where=name,
                hint="leave out this adapter, which diverged; after --dtype bfloat16, try float32",
            )
        S = self._leading()
        rest = (self.squares - S.double().square().sum(0)).clamp_min(0)
        return {
            f"{name}.sketch": S.cpu(),
            f"{name}.rest": rest.cpu(),
            f"{name}.tokens": torch.tensor([float(self.count)], dtype=torch.float64),
        }

    def _leading(self) -> Tensor:
        """Return the leading directions of G, times the roots of their eigenvalues [64 d_in]."""
        Y, test = self.Y.double(), self.test.double()
        kept = min(SKETCHED, len(self.squares))
        shift = len(Y) ** 0.5 * torch.finfo(torch.float32).eps * float(Y.norm())
        if not shift:
            return torch.zeros(kept, len(self.squares))
        Y = Y + shift * test
        core = Y @ test.T  # [128, 128]
        L = torch.linalg.cholesky((core + core.T) / 2)
        E = torch.linalg.solve_triangular(L, Y, upper=False)
        _, values, directions = torch.linalg.svd(E, full_matrices=False)
        energies = (values[:kept].square() - shift).clamp_min(0)
        leading: Tensor = energies.sqrt()[:, None] * directions[:kept]
        return leading.float()


@lru_cache(maxsize=8)
def _test_matrix(d_in: int, seed: int, device: torch.device) -> Tensor:
    """Return Ω [min(128, d_in), d_in], with orthonormal rows; one for all layers of a width."""
    if d_in <= _DRAWN:
        return torch.eye(d_in, device=device)
    drawn = torch.randn(d_in, _DRAWN, generator=torch.Generator().manual_seed(seed))
    Q: Tensor = torch.linalg.qr(drawn).Q
    return Q.T.contiguous().to(device)
