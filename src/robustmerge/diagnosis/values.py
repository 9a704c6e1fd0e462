r"""The distribution of the values of A, B and the update.

    excess kurtosis   E (x - μ)⁴ / (E (x - μ)²)² - 3: 0 for a Gaussian, -1.2 for a uniform

RobustMerge (arXiv:2502.17159, figure 3c) shows histograms: A near its uniform initialization, B
near a Gaussian, both much wider than an update of full fine-tuning. Here values are counted in
units of their own standard deviation, so that modules can be added up; the deviations are a column
of their own.

Of A and B 16384 entries are sampled, of the update those of 128 rows and 128 columns, so that the
dense update is never formed; smaller matrices are used whole. The sample depends on the module's
name alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..factors import Factors, Stack
from ..linalg import ROUNDING

Matrix = Literal["A", "B", "delta"]
SIDE = 128
"""Most rows and columns of an update that are sampled."""
REACH = 5.0
"""Histograms go to this many standard deviations; the outermost bins hold values beyond."""
BINS = 50
"""Bins of a histogram, a fifth of a standard deviation wide."""


@dataclass(frozen=True)
class Values:
    """Spread and shape of one matrix of one module.

    Attributes:
        module: The module.
        adapter: The adapter.
        matrix: A, B (scaling included) or delta.
        deviation: Standard deviation.
        kurtosis: Excess kurtosis, None if all values are equal.
    """

    module: str
    adapter: str
    matrix: Matrix
    deviation: float
    kurtosis: float | None


@dataclass(frozen=True)
class Histogram:
    """Number of sampled values in each bin; bins are those of `histogram_edges`.

    Attributes:
        module: The module, or the projection after modules were added up.
        adapter: The adapter.
        matrix: A, B or delta.
        counts: Number of values in each bin.
    """

    module: str
    adapter: str
    matrix: Matrix
    counts: tuple[int, ...]


def sample_entries(stack: Stack) -> Float[Tensor, "task m n"]:
    """Return entries of every update, at the same rows and columns."""
    d_out, d_in = stack.shape
    rows, columns = _sample(stack, d_out, "rows"), _sample(stack, d_in, "columns")
    return torch.stack([f.B[rows].double() @ f.A[:, columns].double() for f in stack.factors])


def measure_values(
    stack: Stack, names: tuple[str, ...], entries: Float[Tensor, "task m n"]
) -> Iterator[Values | Histogram]:
    """Measure the matrices of every adapter with the module; `entries` from `sample_entries`."""
    for name, factors, delta in zip(names, stack.factors, entries, strict=True):
        if factors.rank:
            yield from _measure_adapter(stack, name, factors, delta)


def histogram_edges() -> list[float]:
    """Return the edges of the histograms' bins, in standard deviations."""
    edges: list[float] = torch.linspace(-REACH, REACH, BINS + 1, dtype=torch.float64).tolist()
    return edges


def _measure_adapter(
    stack: Stack, name: str, factors: Factors, delta: Tensor
) -> Iterator[Values | Histogram]:
    matrices: tuple[tuple[Matrix, Tensor], ...] = (
        ("A", factors.A),
        ("B", factors.B),
        ("delta", delta),
    )
    for matrix, X in matrices:
        x = X.reshape(-1)
        if len(x) > SIDE * SIDE:
            generator = stack.generator(0, "diagnose", matrix)
            x = x[torch.randint(len(x), (SIDE * SIDE,), generator=generator)]
        deviation, kurtosis = _measure_moments(x.double())
        yield Values(stack.module, name, matrix, deviation, kurtosis)
        inside = (x.double() / (deviation or 1.0)).clamp(-REACH, REACH)
        counts = torch.histc(inside, BINS, -REACH, REACH).int()
        yield Histogram(stack.module, name, matrix, tuple(counts.tolist()))


def _measure_moments(x: Float[Tensor, " n"]) -> tuple[float, float | None]:
    """Return standard deviation and excess kurtosis; 0 and None if the spread is rounding error."""
    off = x - x.mean()
    deviation = float(off.square().mean().sqrt())
    if deviation <= ROUNDING * float(x.abs().max()):
        return 0.0, None
    return deviation, float((off / deviation).pow(4).mean()) - 3


def _sample(stack: Stack, count: int, side: str) -> Tensor:
    """Return up to SIDE of `count` row or column indices, in order."""
    if count <= SIDE:
        return torch.arange(count)
    order = torch.randperm(count, generator=stack.generator(0, "diagnose", side))
    return order[:SIDE].sort().values
