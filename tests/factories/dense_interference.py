"""What methods that minimize interference are compared with: their problem on full deltas."""

from __future__ import annotations

import torch

from robustmerge.factors import Stack


def deltas_of(stack: Stack) -> torch.Tensor:
    """Return the updates times their weights, in float64."""
    pairs = zip(stack.factors, stack.weights, strict=True)
    return torch.stack([w * f.B.double() @ f.A.double() for f, w in pairs])


def loss(delta: torch.Tensor, deltas: torch.Tensor) -> torch.Tensor:
    """WUDI's, as published: each adapter's interference, divided by its squared norm."""
    inner = (delta - deltas) @ deltas.mT
    return (inner.square() / deltas.square().sum((1, 2), keepdim=True)).sum()


def moments(deltas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """C and G of its normal equations."""
    proxies = deltas.mT @ deltas / deltas.square().sum((1, 2), keepdim=True)
    return proxies.sum(0), (deltas @ proxies).sum(0)


def filtered(
    deltas: torch.Tensor, f: torch.Tensor, V: torch.Tensor, start: torch.Tensor
) -> torch.Tensor:
    """As far as the filter says, in the eigenvectors V of the full C."""
    C, G = moments(deltas)
    lam = (V.T @ C @ V).diagonal()
    return start - start @ V @ torch.diag(f) @ V.T + G @ V @ torch.diag(f / lam) @ V.T
