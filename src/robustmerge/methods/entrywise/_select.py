"""Exact order statistics of vectors that are seen block by block, in bounded memory.

Where there is a sample, one pass is enough (`_bracket.py`). Where there is none: the bits of a
float, read as an integer, sort like the float; those of negative numbers sort backwards. So the
k-th smallest is found digit by digit, 16 bits at a time: one pass counts how often each leading
digit occurs, the next counts the following digit among the entries that share the leading one. Two
passes for float32, whatever the length. Counts add up, so the order in which blocks come does not
matter, and a vector may well run through all modules of a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .._bracket import NUMPY, Passes, entries_in_memory, select_between
from .._partition import as_integers, integers

R = TypeVar("R")
P_co = TypeVar("P_co", covariant=True)


@runtime_checkable
class EachPart(Protocol[P_co]):
    """A pass over a vector that has a part in each of several modules."""

    def __call__(self, work: Callable[[Iterator[P_co]], R], /) -> Iterator[R]:
        """Apply a function to the pieces of every part; yield results in the parts' order."""
        ...


@dataclass(frozen=True)
class Vectors:
    """Some vectors: call it for a pass over blocks, with one flat piece of each.

    Attributes:
        passes: Makes a fresh iterator.
        sample: Makes entries at random positions of each vector, where those are to be had for
            less than a pass.
        length: Entries of each vector, where there is a sample.
        modules: Where the vectors run through several modules: applies a function to the pieces of
            each, side by side, and yields results in order.
    """

    passes: Passes
    sample: Callable[[], Sequence[Tensor]] | None = None
    length: int = 0
    modules: EachPart[Sequence[Tensor]] | None = None

    def __call__(self) -> Iterator[Sequence[Tensor]]:
        """Take a pass."""
        return self.passes()

    def each(self, work: Callable[[Iterator[Sequence[Tensor]]], R]) -> Iterator[R]:
        """Apply a function to the pieces of each module; most vectors are of one."""
        return self.modules(work) if self.modules else iter((work(self()),))


Positions = Callable[[int], Sequence[int]]
"""From a vector's length to positions in it, sorted ascending and counted from 0."""

Counts = Int[Tensor, " digit"]
_Alike = Callable[[Sequence[Tensor]], list[Tensor]]
"""From pieces to their bits, as integers of one size."""

_DIGIT = 16  # bits
_HALF = 1 << (_DIGIT - 1)


@dataclass(frozen=True)
class _Target:
    """An order statistic of vector `t`: its known bits, and its position among equal ones."""

    t: int
    known: int
    position: int


def select(vectors: Vectors, positions: Positions) -> Float[Tensor, "task statistic"]:
    """Return the entries of each vector at some positions; infinity past its end.

    Args:
        vectors: The vectors, which must be the same in every pass.
        positions: Which entries; as many for every length.
    """
    first, more = _peek(vectors)
    if first[0].is_cpu and not more:
        values = [_entries_at(x, positions) for x in first]
    else:
        values = _by_sample(vectors, positions) or _search(vectors, positions, first[0].dtype)
    width = len(positions(1))
    filled = [v + [math.inf] * (width - len(v)) for v in values]
    return torch.tensor(filled, dtype=first[0].dtype, device=first[0].device)


def _peek(vectors: Vectors) -> tuple[Sequence[Tensor], bool]:
    """Return the first block, and whether there are more."""
    blocks = vectors()
    return next(blocks), next(blocks, None) is not None


def _entries_at(x: Float[Tensor, " n"], positions: Positions) -> list[float]:
    return entries_in_memory(x, [p for p in positions(x.numel()) if p < x.numel()])


def _by_sample(vectors: Vectors, positions: Positions) -> list[list[float]] | None:
    if vectors.sample is None:
        return None
    sample, n = vectors.sample(), vectors.length
    if not sample[0].is_cpu or sample[0].dtype not in NUMPY:
        return None
    return select_between(vectors.passes, sample, [p for p in positions(n) if p < n], n)


def _search(vectors: Vectors, positions: Positions, dtype: torch.dtype) -> list[list[float]]:
    size = torch.finfo(dtype).bits

    def alike(pieces: Sequence[Tensor]) -> list[Tensor]:
        return [as_integers(piece.to(dtype)) for piece in pieces]

    leading = _add_up(vectors.each(lambda own: _leading(map(alike, own), size - _DIGIT)))
    targets = []
    for t, counts in enumerate(leading):
        n = int(counts.sum())
        targets += [_lead(_Target(t, 0, p), counts) for p in positions(n) if p < n]
    for shift in range(size - 2 * _DIGIT, -1, -_DIGIT):
        targets = _follow_all(vectors, alike, shift, targets)
    values = torch.tensor([g.known for g in targets], dtype=integers(dtype)).view(dtype).tolist()
    statistics: list[list[float]] = [[] for _ in leading]
    for target, value in zip(targets, values, strict=True):
        statistics[target.t].append(value)
    return statistics


def _follow_all(
    vectors: Vectors, alike: _Alike, shift: int, targets: Sequence[_Target]
) -> list[_Target]:
    """Return the targets with one more digit known, by a pass."""
    pairs = list(dict.fromkeys((g.t, g.known) for g in targets))
    counted = _add_up(vectors.each(lambda own: _following(map(alike, own), shift, pairs)))
    following = dict(zip(pairs, counted, strict=True))
    return [_follow(g, following[g.t, g.known]) for g in targets]


def _add_up(counted: Iterable[list[Counts]]) -> list[Counts]:
    """Add counts of several pieces or modules up."""
    total: list[Tensor] = []
    for counts in counted:
        total = [a + b for a, b in zip(total, counts, strict=True)] if total else counts
    return total


def _leading(blocks: Iterable[list[Tensor]], shift: int) -> list[Counts]:
    """Count each leading digit in each vector; the lowest, -32768, comes first."""
    return _add_up([_count((bits >> shift).int() + _HALF) for bits in block] for block in blocks)


def _following(
    blocks: Iterable[list[Tensor]], shift: int, pairs: Sequence[tuple[int, int]]
) -> list[Counts]:
    """Count each digit that follows known bits of a vector, for each pair of vector and bits."""

    def counts(bits: Int[Tensor, " n"], known: int) -> Counts:
        rest = bits[(bits >> (shift + _DIGIT)) == known] >> shift
        return _count(rest & (2 * _HALF - 1))  # of the 16 bits after the known ones

    return _add_up([counts(block[t], known) for t, known in pairs] for block in blocks)


def _lead(target: _Target, counts: Int[Tensor, " digit"]) -> _Target:
    """Return the target with its leading digit known."""
    # Negative floats sort backwards by their bits.
    ascending = torch.cat([counts[:_HALF].flip(0), counts[_HALF:]])
    position, digit = _locate(ascending, target.position)
    return _Target(target.t, -1 - digit if digit < _HALF else digit - _HALF, position)


def _follow(target: _Target, counts: Int[Tensor, " digit"]) -> _Target:
    """Return the target with one more digit known."""
    negative = target.known < 0
    position, digit = _locate(counts.flip(0) if negative else counts, target.position)
    if negative:
        digit = 2 * _HALF - 1 - digit
    return _Target(target.t, (target.known << _DIGIT) + digit, position)


def _locate(counts: Int[Tensor, " digit"], position: int) -> tuple[int, int]:
    """Return the digit of the entry at this position, and its position among equal digits."""
    below = counts.cumsum(0)
    digit = int((below <= position).sum())
    return position - (int(below[digit - 1]) if digit else 0), digit


def _count(digits: Int[Tensor, " n"]) -> Int[Tensor, " digit"]:
    return torch.bincount(digits, minlength=2 * _HALF)
