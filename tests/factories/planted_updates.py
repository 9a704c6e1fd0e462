"""Updates with planted singular values in planted directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustmerge.factors import Factors


def axes(d: int, *which: int) -> Tensor:
    """Return unit vectors as columns."""
    return torch.eye(d, dtype=torch.float64)[:, list(which)]


def orthonormal(d: int, n: int, seed: int = 0) -> Tensor:
    """Return random orthonormal columns."""
    g = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, n, generator=g, dtype=torch.float64)).Q


def planted(U: Tensor, S: Sequence[float], V: Tensor) -> Factors:
    """Return U diag(S) V^T as factors."""
    return Factors(V.T.contiguous(), U * torch.tensor(S, dtype=torch.float64))


def change_coordinates(update: Factors, seed: int) -> Factors:
    """Return the same update in other coordinates: B G, G^-1 A."""
    g = torch.Generator().manual_seed(seed)
    G = torch.randn(update.rank, update.rank, generator=g, dtype=torch.float64)
    G += 3 * torch.eye(update.rank, dtype=torch.float64)
    return Factors(torch.linalg.solve(G, update.A.double()), update.B.double() @ G)
