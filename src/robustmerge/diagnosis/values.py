r"""How the values of A, B and of the update are distributed.

    excess kurtosis   E (x - μ)⁴ / (E (x - μ)²)² - 3: 0 for a Gaussian, -1.2 for a uniform

RobustMerge (arXiv:2502.17159, figure 3c) shows histograms: A near its uniform initialization, B
near a Gaussian, both much wider than an update of full fine-tuning. Here values are counted in
units of their own standard deviation, so that modules can be added up; the deviations are beside
them.

Of A and B 16384 entries are drawn, of the update those of 128 rows and 128 columns, so that it is
never formed; smaller ones are taken whole. The draw depends on the module's name alone.
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
"""Most rows and columns of an update that are looked at."""
REACH = 5.0
"""Histograms go to this many standard deviations; the outermost bins hold what is beyond."""
BINS = 50


@dataclass(frozen=True)
class Values:
    """The values of one matrix of one module.

    Attributes:
        module: The module.
        adapter: The adapter.
        matrix: A, B (scaling included) or delta.
        deviation: Standard deviation.
        kurtosis: Excess kurtosis, None where all values are equal.
    """

    module: str
    adapter: str
    matrix: Matrix
    deviation: float
    kurtosis: float | None


@dataclass(frozen=True)
class Histogram:
    """How many of the sampled values are in each bin; bins are those of `edges`.

    Attributes:
        module: The module, or the projection where modules have been added up.
        adapter: The adapter.
        matrix: A, B or delta.
        counts: One number for each bin.
    """

    module: str
    adapter: str
    matrix: Matrix
    counts: tuple[int, ...]


def sample(stack: Stack) -> Float[Tensor, "task m n"]:
    """Entries of every update, at the same rows and columns."""
    d_out, d_in = stack.shape
    rows, columns = _some(stack, d_out, "rows"), _some(stack, d_in, "columns")
    return torch.stack([f.B[rows].double() @ f.A[:, columns].double() for f in stack.factors])


def values(stack: Stack, names: tuple[str, ...], entries: Tensor) -> Iterator[Values | Histogram]:
    """Look at the matrices of every adapter that has the module; `entries` are from `sample`."""
    for name, factors, delta in zip(names, stack.factors, entries, strict=True):
        if factors.rank:
            yield from _of_adapter(stack, name, factors, delta)


def edges() -> list[float]:
    """Where the histograms' bins begin and end, in standard deviations."""
    edges: list[float] = torch.linspace(-REACH, REACH, BINS + 1, dtype=torch.float64).tolist()
    return edges


def _of_adapter(
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
        deviation, kurtosis = _moments(x.double())
        yield Values(stack.module, name, matrix, deviation, kurtosis)
        inside = (x.double() / (deviation or 1.0)).clamp(-REACH, REACH)
        counts = torch.histc(inside, BINS, -REACH, REACH).int()
        yield Histogram(stack.module, name, matrix, tuple(counts.tolist()))


def _moments(x: Float[Tensor, " n"]) -> tuple[float, float | None]:
    """Standard deviation and excess kurtosis; a spread that is rounding is none."""
    off = x - x.mean()
    deviation = float(off.square().mean().sqrt())
    if deviation <= ROUNDING * float(x.abs().max()):
        return 0.0, None
    return deviation, float((off / deviation).pow(4).mean()) - 3


def _some(stack: Stack, of: int, what: str) -> Tensor:
    """Some of so many rows or columns, in order."""
    if of <= SIDE:
        return torch.arange(of)
    return torch.randperm(of, generator=stack.generator(0, "diagnose", what))[:SIDE].sort().values
