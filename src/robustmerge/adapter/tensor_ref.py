"""Tensors in files: whole ones, and views of them that are the factors of one module.

A view has the shape of a factor and is read when a module is merged:

    FlatRef      a factor of a convolution [r, c, k, k] or [d_out, r, 1, 1] as a matrix
    RowsRef      rows of A [E·r, d_in] that belong to one of E experts
    ColumnsRef   columns of B [d_out, r·E] that do, every E-th
    StackRef     one of E matrices of a tensor [E, ., .]
    PartRef      rows of a factor, or of its transpose
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock

import torch
from torch import Tensor

from ..errors import MergeError
from .tensors import DTYPES, TensorFile, TensorSpec

CHUNK = 32 << 20
"""Bytes of one B that are held in expert order, in its stored type: 128 experts of most models."""
_HELD = 4
"""Pieces held per adapter: of gate_up_proj and down_proj, and the next ones."""
_BAND = 4 << 20


@dataclass(frozen=True)
class TensorRef:
    """A tensor in a file: the file, its name there, and its type and shape."""

    file: TensorFile
    name: str
    spec: TensorSpec

    def __str__(self) -> str:
        return f"{self.file.path}  {self.name}"

    def read(self) -> Tensor:
        """Read the tensor in float32 (float64 stays).

        Raises:
            MergeError: the tensor holds NaN or infinity.
        """
        tensor = self._values()
        # The sum is not finite if an entry is not; the reverse is checked only then.
        if not math.isfinite(tensor.sum()) and not tensor.isfinite().all():
            bad = int((~tensor.isfinite()).sum())
            raise MergeError(
                f"{bad} of {tensor.numel()} values are NaN or infinite",
                where=str(self),
                hint="the training run diverged or the file is damaged; use another checkpoint",
            )
        return tensor

    def _values(self) -> Tensor:
        return self.file.read(self.name)


@dataclass(frozen=True)
class FlatRef(TensorRef):
    """A factor of a convolution as a matrix; `spec` has the matrix's shape."""

    def _values(self) -> Tensor:
        return self.file.read(self.name).reshape(self.spec.shape)


@dataclass(frozen=True)
class RowsRef(TensorRef):
    """One expert's rows of A; `spec` has their shape."""

    expert: int

    def _values(self) -> Tensor:
        rank = self.spec.shape[0]
        return self.file.read_rows(self.name, self.expert * rank, (self.expert + 1) * rank)


@dataclass(frozen=True)
class StackRef(TensorRef):
    """One matrix of a tensor of many; `spec` has its shape."""

    number: int

    def _values(self) -> Tensor:
        return self.file.read_rows(self.name, self.number, self.number + 1)[0]


@dataclass(frozen=True)
class ColumnsRef(TensorRef):
    """One expert's columns of B; `spec` has their shape."""

    expert: int
    columns: InterleavedColumns

    def _values(self) -> Tensor:
        return self.columns.read(self.expert)


@dataclass(frozen=True)
class PartRef(TensorRef):
    """Rows of a factor, or of its transpose."""

    whole: TensorRef
    rows: slice
    turned: bool

    @classmethod
    def of(cls, whole: TensorRef, rows: slice = slice(None), *, turned: bool = False) -> PartRef:
        """Return these rows, of the transpose if `turned`."""
        height, width = whole.spec.shape[::-1] if turned else whole.spec.shape
        shape = (len(range(height)[rows]), width)
        spec = replace(whole.spec, shape=shape)
        return cls(whole.file, whole.name, spec, whole, rows, turned)

    def _values(self) -> Tensor:
        values = self.whole._values()
        return (values.T if self.turned else values)[self.rows].clone()


class HeldPieces:
    """The pieces of interleaved tensors that one adapter holds, the latest few."""

    def __init__(self) -> None:
        self.lock = Lock()
        self._pieces: OrderedDict[tuple[str, int], Tensor] = OrderedDict()

    def get(self, key: tuple[str, int]) -> Tensor | None:
        """Return a piece that is held."""
        if key in self._pieces:
            self._pieces.move_to_end(key)
        return self._pieces.get(key)

    def put(self, key: tuple[str, int], piece: Tensor) -> None:
        """Hold a piece, and let go of the one that was not asked for longest."""
        self._pieces[key] = piece
        while len(self._pieces) > _HELD:
            self._pieces.popitem(last=False)

    def clear(self) -> None:
        """Let go of all."""
        self._pieces.clear()


@dataclass(frozen=True)
class InterleavedColumns:
    """B [d_out, r·E] of all experts, of which every E-th column is one expert's.

    An expert's values lie all over the tensor, so that a piece for many experts at once is put in
    expert order. Up to CHUNK bytes that is one pass over the tensor; beyond, one for every CHUNK.

    Attributes:
        ref: The tensor.
        experts: E.
        held: The pieces of the whole adapter.
    """

    ref: TensorRef
    experts: int
    held: HeldPieces

    @property
    def at_once(self) -> int:
        """How many experts are in a piece."""
        return min(self.experts, max(CHUNK * self.experts // self.ref.spec.nbytes, 1))

    def read(self, expert: int) -> Tensor:
        """Return one expert's columns [d_out, r] in float32 (float64 stays)."""
        number, offset = divmod(expert, self.at_once)
        with self.held.lock:
            piece = self.held.get((self.ref.name, number))
            if piece is None:
                piece = self._load(number * self.at_once)
                self.held.put((self.ref.name, number), piece)
        stored = piece[offset]
        wanted = torch.float64 if stored.dtype == torch.float64 else torch.float32
        return stored.to(wanted, copy=True)  # what a module gets, it may change

    def _load(self, first: int) -> Tensor:
        """Return a piece in the stored type, [experts of it, d_out, r]."""
        spec, count = self.ref.spec, min(self.at_once, self.experts - first)
        d_out, width = spec.shape
        piece = torch.empty(count, d_out, width // self.experts, dtype=DTYPES[spec.dtype])
        step = max(_BAND // (spec.nbytes // d_out), 1)
        for begin in range(0, d_out, step):
            end = min(begin + step, d_out)
            band = self.ref.file.stored_rows(self.ref.name, begin, end)
            by_expert = band.reshape(-1, self.experts).T[first : first + count]  # [E, rows·r]
            piece[:, begin:end] = by_expert.reshape(count, end - begin, -1)
        return piece


def flat(ref: TensorRef) -> TensorRef:
    """Return a factor as a matrix: all axes behind the first are one."""
    if len(ref.spec.shape) <= 2:
        return ref
    first, *others = ref.spec.shape
    return FlatRef(ref.file, ref.name, replace(ref.spec, shape=(first, math.prod(others))))


def expert_factors(
    A: TensorRef, B: TensorRef, rank: int, experts: int, held: HeldPieces
) -> list[tuple[TensorRef, TensorRef]]:
    """Return every expert's factors in A [E·r, d_in] and B [d_out, r·E]."""
    columns = InterleavedColumns(B, experts, held)
    rows = replace(A.spec, shape=(rank, A.spec.shape[1]))
    own = replace(B.spec, shape=(B.spec.shape[0], rank))
    return [
        (RowsRef(A.file, A.name, rows, e), ColumnsRef(B.file, B.name, own, e, columns))
        for e in range(experts)
    ]
