"""The entries of a module's updates: one vector per adapter, seen block by block.

Entry-wise methods (TIES, DARE, PCB, pruning) know nothing but such vectors, and there are two ways
to make them of low-rank updates:

- factor: the entries of A are one vector, those of B another, and each is merged for itself. The
  product of the two contains cross terms B_t A_u between adapters. Ranks stay as they are.
- delta: the entries of B A, which is what the methods were made for. The result has full rank and
  is cut to the rank asked for.

Deltas are computed by bands of rows, anew in every pass, and are never held: merging a module costs
the memory of its merged delta, and per adapter a band of 2^17 entries (one row, where rows are
longer) with what is derived from it, 8 MB in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..factors import Dense, Factors, Stack
from ._select import Vectors

Space = Literal["factor", "delta"]

_BAND = 1 << 17
"""Entries of one adapter in a block."""


@dataclass(frozen=True)
class Block:
    """A part of every adapter's vector.

    Attributes:
        name: Which part; the same in every pass, so that random methods can draw by it.
        x: The entries.
        own: How many rows each adapter has; rows after those pad it to the largest rank.
    """

    name: str
    x: Float[Tensor, "task rows cols"]
    own: tuple[int, ...]


Blocks = Callable[[], Iterator[Block]]
"""A pass over the blocks: call it for a fresh iterator."""

Rule = Callable[[Block], Tensor]
"""What a method does with a block: [task rows cols] -> [rows cols]."""


@dataclass(frozen=True)
class Entries:
    """One vector per adapter.

    Attributes:
        name: A, B or delta.
        shape: The merged vector as a matrix: (rows, cols).
        weights: What each adapter's entries are to be multiplied by.
        blocks: The entries, unweighted.
    """

    name: str
    shape: tuple[int, int]
    weights: Float[Tensor, " task"]
    blocks: Blocks

    def total(self, x: Float[Tensor, "task rows cols"]) -> Float[Tensor, "rows cols"]:
        """The weighted sum over adapters."""
        total: Tensor = torch.tensordot(self.weights, x, dims=1)
        return total

    def merged(self, rule: Rule) -> Float[Tensor, "rows cols"]:
        """The merged vector."""
        merged = torch.empty(self.shape, dtype=self.weights.dtype, device=self.weights.device)
        row = 0
        for block in self.blocks():
            rows = block.x.shape[1]
            merged[row : row + rows] = rule(block)
            row += rows
        return merged


def merge_entries(
    stack: Stack, space: Space, rule: Callable[[Entries], Rule], *, folded: bool = False
) -> Factors | Dense:
    """Merge each vector by the rule that the method makes for it."""
    parts = [e.merged(rule(e)) for e in entries(stack, space, folded=folded)]
    return Dense(parts[0]) if space == "delta" else Factors(parts[0], parts[1].T.contiguous())


def entries(stack: Stack, space: Space, *, folded: bool = False) -> tuple[Entries, ...]:
    """The vectors of a module: A's and B's, or the delta's.

    In factor space weight and scaling are shared out evenly, their roots going to either factor and
    their signs to A, as PEFT does.

    Args:
        stack: The module's updates.
        space: Which vectors.
        folded: The roots of the scalings are part of the entries, so that B A is the update itself;
            otherwise, as in PEFT, entries are those of the adapter files and scalings part of the
            weights. In delta space updates are always complete.
    """
    return (_deltas(stack),) if space == "delta" else _factors(stack, folded)


def vectors(blocks: Blocks, of: Callable[[Block], Tensor]) -> Vectors:
    """Numbers derived from the blocks, as flat vectors of each adapter's own entries."""

    def passes() -> Iterator[list[Tensor]]:
        for block in blocks():
            derived = of(block)
            yield [x[:rows].flatten() for x, rows in zip(derived, block.own, strict=True)]

    return passes


def _factors(stack: Stack, folded: bool) -> tuple[Entries, Entries]:
    pairs = list(zip(stack.weights, stack.scalings, strict=True))
    outer = [_roots(w if folded else w * s) for w, s in pairs]
    inner = [_roots(s if folded else 1.0) for _, s in pairs]
    # With scaling 0 the file's own B is lost, and without effect.
    unscaled = [1 / s if s else 1.0 for s in stack.scalings]
    rank, (d_out, d_in) = max(stack.ranks), stack.shape

    def A() -> Block:  # noqa: N802 (the papers' letter)
        x = [_times(f.A, a) for f, (a, _) in zip(stack.factors, inner, strict=True)]
        return Block("A", _padded(x, rank), stack.ranks)

    def B() -> Block:  # noqa: N802 (the papers' letter)
        by = [b * u for (_, b), u in zip(inner, unscaled, strict=True)]
        x = [_times(f.B, b).T for f, b in zip(stack.factors, by, strict=True)]
        return Block("B", _padded(x, rank), stack.ranks)

    return (
        Entries("A", (rank, d_in), _per_adapter(stack, [a for a, _ in outer]), _alone(A)),
        Entries("B", (rank, d_out), _per_adapter(stack, [b for _, b in outer]), _alone(B)),
    )


def _alone(make: Callable[[], Block]) -> Blocks:
    """A vector of one block, which is made when it is first asked for and then kept."""
    made = cache(make)
    return lambda: iter((made(),))


def _deltas(stack: Stack) -> Entries:
    d_out, d_in = stack.shape
    height = max(1, _BAND // d_in)

    def bands() -> Iterator[Block]:
        for top in range(0, d_out, height):
            x = torch.stack([f.B[top : top + height] @ f.A for f in stack.factors])
            yield Block(f"delta/{top}", x, (x.shape[1],) * len(stack))

    return Entries("delta", stack.shape, _per_adapter(stack, stack.weights), bands)


def _roots(x: float) -> tuple[float, float]:
    """Two numbers of one size whose product is x; the first has its sign."""
    root = math.sqrt(abs(x))
    return math.copysign(root, x), root


def _padded(x: Sequence[Float[Tensor, "_ cols"]], rows: int) -> Float[Tensor, "task rows cols"]:
    pad = torch.nn.functional.pad
    return torch.stack([pad(y, (0, 0, 0, rows - len(y))) if len(y) < rows else y for y in x])


def _times(x: Float[Tensor, "a b"], by: float) -> Float[Tensor, "a b"]:
    return x if by == 1 else x * by


def _per_adapter(stack: Stack, values: Sequence[float]) -> Float[Tensor, " task"]:
    dtype = reduce(torch.promote_types, (f.A.dtype for f in stack.factors))
    return torch.tensor(values, dtype=dtype, device=stack.factors[0].A.device)
