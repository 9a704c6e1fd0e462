r"""The block Krylov space [Q, (D Dᵀ) Q, (D Dᵀ)² Q, …] of a large matrix D, grown block by block.

The energy that its directions capture converges with the degree of the polynomial rather than with
its power, so that flat spectra, on which plain subspace iteration is stuck, take 10 to 16 blocks,
and separated ones 3.

Cost of a block of w columns in a space of k: 4 d_out d_in w operations for the two products with
D, and O((d_out + d_in) k w). Memory beyond D: (d_out + d_in) k numbers of D's type.

Source: Musco and Musco, Randomized block Krylov methods, NeurIPS 2015, arXiv:1504.05477.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


class KrylovSpace:
    """Orthonormal output directions of a wide matrix D, and what D has in them.

    Attributes:
        basis: The directions, Q.
        rows: Qᵀ D.
        gram: rows rowsᵀ in float64; its largest eigenvalues are the energies captured.
    """

    def __init__(self, D: Float[Tensor, "m n"], width: int) -> None:
        """Draw the first block: the products of D with random columns."""
        noise = torch.Generator().manual_seed(0)
        start = torch.randn(D.shape[1], min(width, len(D)), generator=noise, dtype=D.dtype)
        self._D = D
        self._block = D @ start.to(D.device)
        self.basis: Float[Tensor, "m k"] = D.new_zeros(len(D), 0)
        self.rows: Float[Tensor, "k n"] = D.new_zeros(0, D.shape[1])
        self.gram: Float[Tensor, "k k"] = torch.zeros(0, 0, dtype=torch.float64, device=D.device)

    def grow(self) -> None:
        """Add a block of directions."""
        if len(self.rows):
            self._block = self._D @ self.rows[-self._block.shape[1] :].T
        block = _outside(self.basis, self._block)
        row = block.T @ self._D  # [width, n]
        self.basis, self.rows = torch.cat([self.basis, block], 1), torch.cat([self.rows, row])
        self.gram = _bordered(self.gram, self.rows, row)

    @property
    def full(self) -> bool:
        """Whether another block does not fit in."""
        return self.basis.shape[1] + self._block.shape[1] > len(self.basis)

    def captured(self, rank: int) -> float:
        """Return the energy of the best directions in the space."""
        return float(torch.linalg.eigvalsh(self.gram)[-rank:].sum())

    def best(self, rank: int) -> Float[Tensor, "k rank"]:
        """Return the best directions in the space, in its own coordinates, float64."""
        directions: Tensor = torch.linalg.eigh(self.gram).eigenvectors
        return directions[:, -rank:]


def _outside(basis: Float[Tensor, "m k"], block: Float[Tensor, "m w"]) -> Float[Tensor, "m w"]:
    """Return orthonormal columns for what of a block is outside the basis."""
    for _ in range(4):  # once is not enough in float32, twice nearly always is
        inside = basis.T @ block
        block = torch.linalg.qr(block - basis @ inside).Q
        if inside.numel() == 0 or float(inside.abs().max()) < 1e-5:
            break
    return block


def _bordered(gram: Tensor, rows: Float[Tensor, "k n"], row: Float[Tensor, "w n"]) -> Tensor:
    """Return rows rowsᵀ, of which all but the last rows are known."""
    k, old = len(rows), len(gram)
    column = (rows @ row.T).double()  # [k, w]
    grown = gram.new_empty(k, k)
    grown[:old, :old], grown[:, old:], grown[old:, :old] = gram, column, column[:old].T
    return grown
