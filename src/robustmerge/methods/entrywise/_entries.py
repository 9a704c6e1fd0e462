"""The entries of a module's updates: one vector per adapter, seen block by block.

Entry-wise methods (TIES, DARE, PCB, pruning) know nothing but such vectors, and there are several
ways to make them of low-rank updates:

- factor: the entries of A are one vector, those of B another, and each is merged for itself. The
  product of the two contains cross terms B_t A_u between adapters. Ranks stay as they are.
- delta: the entries of B A, which is what the methods were made for. The result has full rank and
  is cut to the rank asked for.
- core: the entries of the cores M_t, Δ_t = Q_B M_t Q_A, at most R x R for the sum of ranks R. The
  bases are the singular directions of all deltas side by side and of all deltas one below the
  other, so that they depend on the deltas only. The rank of the result is at most R.
- core-paper: the same in the bases of the Core Space paper, which are the singular directions of
  all B side by side and of all A one below the other. They change with the gauge.
- knots: the entries of S V_t, where U S [V_1 ... V_T] are the singular values and directions of all
  deltas side by side (Stoica et al., KnOTS, ICLR 2025). The rank of the result is at most R. The
  authors leave out singular values below 1e-5; here it is those that are rounding.

Core spaces are small and another method than the same one on deltas. Where singular values are
equal, which does not happen to trained adapters, their bases are arbitrary.

Deltas are computed tile by tile in every pass, and are never held: merging a module costs the
memory of its merged delta, and per adapter a tile of 2^17 entries (for methods that look at whole
rows, one row where rows are longer) with what is derived from it, 8 MB in float32. The vectors of
knots, T R d_in entries, are held; those of the other spaces are small.

Source of core: Panariello et al., Core Space, NeurIPS 2025, arXiv:2509.17786.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, reduce
from itertools import product
from typing import Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...basis import Basis
from ...factors import Dense, Factors, Stack, Update
from ...linalg import compact_svd, core, norm, numerical_rank
from .._bracket import NUMPY
from .._registry import When
from ._select import EachPart, Vectors

Space = Literal["factor", "delta", "core", "core-paper", "knots"]
GAUGE_INVARIANT = When("space", "delta", "core", "knots")
"""The spaces whose vectors depend on the deltas only."""

R = TypeVar("R")

_BAND = 1 << 17
"""Entries of one adapter in a block: 512 KB in float32, which fits a processor's cache."""
_HEIGHT = 1 << 7
"""Rows of a tile: its columns of every A stay in cache for all tiles above and below."""
_SAMPLE = 1 << 15
"""Entries of one adapter in a sample: between twice four standard errors of a quantile, at most
0.5 / 2^7.5, are 2 percent of the entries."""


@dataclass(frozen=True)
class EntryBlock:
    """A part of every adapter's vector.

    Attributes:
        name: Which part; the same in every pass, so that random methods can draw by it.
        x: The entries.
        own: How many rows each adapter has; rows after those pad it to the largest rank.
        rooms: Memories of the entries' shape that the blocks of a pass share; none where there are
            few blocks.
        top: Its first row in the vector as a matrix.
        left: Its first column.
    """

    name: str
    x: Float[Tensor, "task rows cols"]
    own: tuple[int, ...]
    rooms: tuple[Float[Tensor, "task rows cols"], ...] = ()
    top: int = 0
    left: int = 0

    def scratch(self, number: int = 0) -> Float[Tensor, "task rows cols"]:
        """Return memory for what a method makes of the entries, which lasts until the next block.

        Memory that was written a moment ago is several times faster than new memory.

        Args:
            number: 0, or 1 for another one.
        """
        return self.rooms[number] if self.rooms else torch.empty_like(self.x)


@dataclass(frozen=True)
class Blocks:
    """A vector's blocks: call it for a pass over them.

    Attributes:
        passes: Makes a fresh iterator; a block lasts until the next.
        modules: Where the vector runs through several modules: applies a function to the blocks of
            each, side by side, and yields results in order.
        sample: Makes a block of entries at random positions, the same for every adapter; None where
            that costs as much as a pass.
        length: How many entries each adapter has; 0 where that is not known without a pass.
    """

    passes: Callable[[], Iterator[EntryBlock]]
    sample: Callable[[], EntryBlock] | None = None
    length: int = 0
    modules: EachPart[EntryBlock] | None = None

    def __call__(self) -> Iterator[EntryBlock]:
        """Take a pass."""
        return self.passes()

    def each(self, work: Callable[[Iterator[EntryBlock]], R]) -> Iterator[R]:
        """Apply a function to the blocks of each module; most vectors are of one."""
        return self.modules(work) if self.modules else iter((work(self()),))


Rule = Callable[[EntryBlock], Tensor]
"""What a method does with a block: [task rows cols] -> [rows cols]."""


@dataclass(frozen=True)
class Entries:
    """One vector per adapter.

    Attributes:
        name: A or B, or the space.
        shape: The merged vector as a matrix: (rows, cols).
        weights: What each adapter's entries are to be multiplied by.
        blocks: The entries, unweighted.
        norms: The norm of each adapter's vector, where it is to be had without a pass.
    """

    name: str
    shape: tuple[int, int]
    weights: Float[Tensor, " task"]
    blocks: Blocks
    norms: Callable[[], Float[Tensor, " task"]] | None = None

    def weighted(self, x: Float[Tensor, "task rows cols"]) -> Float[Tensor, "task rows cols"]:
        """Return each adapter's entries times its weight; as they are where all weights are 1."""
        return x if self._plain else x * self.weights[:, None, None]

    @cached_property
    def _plain(self) -> bool:
        return bool((self.weights == 1).all())

    def total(self, x: Float[Tensor, "task rows cols"]) -> Float[Tensor, "rows cols"]:
        """Return the weighted sum over adapters."""
        total: Tensor = torch.tensordot(self.weights, x, dims=1)
        return total

    def merged(self, rule: Rule) -> Float[Tensor, "rows cols"]:
        """Return the merged vector."""
        merged = empty(self.shape, self.weights)
        for block in self.blocks():
            _, rows, cols = block.x.shape
            merged[block.top : block.top + rows, block.left : block.left + cols] = rule(block)
        return merged


@dataclass(frozen=True)
class EntrySpace:
    """A module as vectors of entries, and the way back.

    Attributes:
        entries: The vectors: A's and B's, or one.
        update: From the merged vectors to the merged update.
    """

    entries: tuple[Entries, ...]
    update: Callable[[Sequence[Tensor]], Update]


def merge_entries(
    stack: Stack,
    space: Space,
    rule: Callable[[Entries], Rule],
    *,
    folded: bool = False,
    whole_rows: bool = False,
) -> Update:
    """Merge each vector by the rule that the method makes for it; `view_of` has the settings."""
    view = view_of(stack, space, folded=folded, whole_rows=whole_rows)
    return view.update([e.merged(rule(e)) for e in view.entries])


def view_of(
    stack: Stack, space: Space, *, folded: bool = False, whole_rows: bool = False
) -> EntrySpace:
    """Return a module as vectors of entries.

    In factor space weight and scaling are shared out evenly, their roots going to either factor and
    their signs to A, as PEFT does.

    Args:
        stack: The module's updates.
        space: Which vectors.
        folded: In factor space, the roots of the scalings are part of the entries, so that B A is
            the update itself; otherwise, as in PEFT, entries are those of the adapter files and
            scalings part of the weights. In the other spaces updates are always complete.
        whole_rows: The blocks of a delta have whole rows, for methods that look at a row or draw
            random numbers in a row's order.
    """
    if space == "factor":
        return _factors(stack, folded)
    if space == "delta":
        return _deltas(stack, whole_rows)
    return _knots(stack) if space == "knots" else _core(stack, space)


def part_names(space: Space) -> tuple[str, ...]:
    """Return the names of a space's vectors."""
    return ("A", "B") if space == "factor" else (space,)


def vectors(blocks: Blocks, of: Callable[[EntryBlock], Tensor]) -> Vectors:
    """Numbers derived from the blocks, as flat vectors of each adapter's own entries."""

    def flat(block: EntryBlock) -> list[Tensor]:
        derived = of(block)
        return [x[:rows].flatten() for x, rows in zip(derived, block.own, strict=True)]

    make = blocks.sample
    sample = None if make is None else lambda: flat(make())

    def modules(work: Callable[[Iterator[list[Tensor]]], R]) -> Iterator[R]:
        return blocks.each(lambda own: work(map(flat, own)))

    return Vectors(lambda: map(flat, blocks()), sample, blocks.length, modules)


def _factors(stack: Stack, folded: bool) -> EntrySpace:
    pairs = list(zip(stack.weights, stack.scalings, strict=True))
    outer = [_roots(w if folded else w * s) for w, s in pairs]
    inner = [_roots(s if folded else 1.0) for _, s in pairs]
    # With scaling 0 the file's own B is lost, and without effect.
    unscaled = [1 / s if s else 1.0 for s in stack.scalings]
    rank, (d_out, d_in) = max(stack.ranks), stack.shape

    def A() -> EntryBlock:  # noqa: N802 (the papers' letter)
        x = [_times(f.A, a) for f, (a, _) in zip(stack.factors, inner, strict=True)]
        return EntryBlock("A", _pad_rows(x, rank), stack.ranks)

    def B() -> EntryBlock:  # noqa: N802 (the papers' letter)
        by = [b * u for (_, b), u in zip(inner, unscaled, strict=True)]
        x = [_times(f.B, b).T for f, b in zip(stack.factors, by, strict=True)]
        return EntryBlock("B", _pad_rows(x, rank), stack.ranks)

    of_A, of_B = (_vector(stack, [pair[i] for pair in outer]) for i in (0, 1))
    return EntrySpace(
        (
            Entries("A", (rank, d_in), of_A, _one_block(A)),
            Entries("B", (rank, d_out), of_B, _one_block(B)),
        ),
        lambda merged: Factors(merged[0], merged[1].T.contiguous()),
    )


def _one_block(make: Callable[[], EntryBlock]) -> Blocks:
    """Return a vector of one block, which is made when it is first asked for and then kept."""
    made = cache(make)
    return Blocks(lambda: iter((made(),)))


def _deltas(stack: Stack, whole_rows: bool) -> EntrySpace:
    d_out, d_in = stack.shape
    height, width = _tile(d_out, d_in, whole_rows)
    T, dtype, device = len(stack), _dtype(stack), stack.factors[0].A.device
    factors = [Factors(f.A.to(dtype), f.B.to(dtype)) for f in stack.factors]

    def tiles() -> Iterator[EntryBlock]:
        memory = empty((3, T * height * width), factors[0].A)
        for left, top in product(range(0, d_in, width), range(0, d_out, height)):
            rows, cols = min(height, d_out - top), min(width, d_in - left)
            x, *rooms = memory[:, : T * rows * cols].view(3, T, rows, cols)
            for f, out in zip(factors, x, strict=True):
                torch.mm(f.B[top : top + rows], f.A[:, left : left + cols], out=out)
            name = f"delta/{top}/{left}" if left else f"delta/{top}"
            yield EntryBlock(name, x, (rows,) * T, tuple(rooms), top, left)

    def sample() -> EntryBlock:
        draw = torch.Generator().manual_seed(0)
        i, j = (torch.randint(d, (_SAMPLE,), generator=draw).to(device) for d in (d_out, d_in))
        x = torch.stack([(f.B[i] * f.A.T[j]).sum(1) for f in factors])
        return EntryBlock("sample", x[:, None], (1,) * T)  # [task, 1, entry]

    blocks = Blocks(tiles, sample if d_out * d_in > 4 * _SAMPLE else None, d_out * d_in)

    def norms() -> Float[Tensor, " task"]:
        lengths = [norm(f) for f in factors]
        return torch.tensor(lengths, dtype=torch.float64, device=device)

    whole = Entries("delta", stack.shape, _vector(stack, stack.weights), blocks, norms)
    return EntrySpace((whole,), lambda merged: Dense(merged[0]))


def _tile(d_out: int, d_in: int, whole_rows: bool) -> tuple[int, int]:
    """Return the rows and columns of a block of a delta."""
    width = d_in if whole_rows else min(d_in, max(1, _BAND // min(d_out, _HEIGHT)))
    return min(d_out, max(1, _BAND // width)), width


def _core(stack: Stack, name: Space) -> EntrySpace:
    space = core(stack)
    M = space.M
    if name == "core-paper":
        left, right = _directions(space.B.R), _directions(space.A.R)
    else:
        left, right = _directions(torch.cat([*M], dim=1)), _directions(torch.cat([*M.mT], dim=1))
    left, right = left * _signs(left, space.B), right * _signs(right, space.A)
    x = left.T @ M @ right  # [task, p, q]
    own = (x.shape[1],) * len(stack)
    only = Entries(
        name,
        (x.shape[1], x.shape[2]),
        space.weights,
        Blocks(lambda: iter((EntryBlock("core", x, own),))),
    )
    return EntrySpace((only,), lambda merged: space.lift(left @ merged[0] @ right.T))


def _knots(stack: Stack) -> EntrySpace:
    space = core(stack)
    U, S, Vh = torch.linalg.svd(torch.cat([*space.M], dim=1), full_matrices=False)
    k, T = max(numerical_rank(S), 1), len(stack)
    signs = _signs(U[:, :k], space.B)
    blocks = ((signs * S[:k])[:, None] * Vh[:k]).view(k, T, -1)  # [k, task, q]
    lifted = space.A.lift(blocks.flatten(0, 1).T).T.reshape(k, T, -1)
    dtype = _dtype(stack)
    x = lifted.transpose(0, 1).to(dtype).contiguous()  # [task, k, d_in]
    height = max(1, _BAND // stack.shape[1])

    def bands() -> Iterator[EntryBlock]:
        for top in range(0, k, height):
            band = x[:, top : top + height]
            yield EntryBlock(f"knots/{top}", band, (band.shape[1],) * T, top=top)

    only = Entries("knots", (k, stack.shape[1]), _vector(stack, stack.weights), Blocks(bands))
    B = space.B.lift(U[:, :k] * signs).to(dtype)
    return EntrySpace((only,), lambda merged: Factors(merged[0], B))


def empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return memory that is not set, of a tensor's type and device."""
    if like.is_cpu and like.dtype in NUMPY:
        # NumPy asks for huge pages, of which fewer are met for the first time.
        return torch.from_numpy(np.empty(shape, NUMPY[like.dtype]))
    return torch.empty(shape, dtype=like.dtype, device=like.device)


def _directions(X: Float[Tensor, "d n"]) -> Float[Tensor, "d k"]:
    """Return the left singular directions that are more than rounding."""
    return compact_svd(X)[0]


def _signs(directions: Float[Tensor, "p k"], basis: Basis) -> Float[Tensor, " k"]:
    """Return the factors, -1 or 1, that make directions point to the positive side.

    Singular directions have no sign of their own, and methods that let a draw count as + notice.
    The weights are uneven so that no simple direction is at right angles to them.
    """
    weights = torch.linspace(1, 2, len(basis.H), dtype=directions.dtype, device=directions.device)
    sums = basis.project(weights[:, None])[:, 0] @ directions
    return torch.where(sums < 0, -1.0, 1.0).to(directions)


def _roots(x: float) -> tuple[float, float]:
    """Two numbers of one size whose product is x; the first has its sign."""
    root = math.sqrt(abs(x))
    return math.copysign(root, x), root


def _pad_rows(x: Sequence[Float[Tensor, "_ cols"]], rows: int) -> Float[Tensor, "task rows cols"]:
    pad = torch.nn.functional.pad
    return torch.stack([pad(y, (0, 0, 0, rows - len(y))) if len(y) < rows else y for y in x])


def _times(x: Float[Tensor, "a b"], by: float) -> Float[Tensor, "a b"]:
    return x if by == 1 else x * by


def _vector(stack: Stack, values: Sequence[float]) -> Float[Tensor, " task"]:
    return torch.tensor(values, dtype=_dtype(stack), device=stack.factors[0].A.device)


def _dtype(stack: Stack) -> torch.dtype:
    return reduce(torch.promote_types, (f.A.dtype for f in stack.factors))
