"""Where a module's factors go in a file of tensors, and their writing.

Most modules have two tensors of their own. Experts share theirs. PEFT's (`wrapped`) are matrices:
A's rows are written as they come, and B's columns are gathered, up to CHUNK bytes of every B, and
written when all of them are there. SGLang's (`stacked`) have an axis of experts, of length 1 where
a side is one for all; it is written once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..factors import Factors
from .keys import FACTORS, Part, lora_name
from .stacked import StackedLayer
from .tensor_ref import CHUNK
from .tensors import DTYPES, TensorSpec
from .wrapped import WrappedParameter
from .writer import SafetensorsWriter, opened_writer, round_to_dtype

_BAND = 4 << 20


@dataclass(frozen=True)
class FactorTensors:
    """The tensors that a module's factors are in.

    Attributes:
        a: The name of A.
        b: The name of B.
        kernel: A's shape behind the rank, for convolutions.
        expert: The number of the expert, where several share the tensors.
        experts: How many share them.
        stacked: The layer whose tensors have an axis of experts, if they have one.
    """

    a: str
    b: str
    kernel: tuple[int, ...] = ()
    expert: int = 0
    experts: int = 1
    stacked: StackedLayer | None = None

    @classmethod
    def of(
        cls,
        written: str,
        part: Part,
        *,
        wrapped: WrappedParameter | None = None,
        kernel: tuple[int, ...] = (),
    ) -> FactorTensors:
        """Return the tensors of a module.

        Args:
            written: Its name in the file.
            part: Part.A for linear layers, Part.EMBEDDING_A for embeddings.
            wrapped: The parameter that it is, where PEFT is to wrap it.
            kernel: A's shape behind the rank, for convolutions.
        """
        name = wrapped.renamed(written).wrapper if wrapped else written
        a, b = lora_name(name, part), lora_name(name, FACTORS[part])
        if wrapped is None:
            return cls(a, b, kernel)
        return cls(a, b, (), wrapped.expert, wrapped.experts)

    @classmethod
    def of_stacked(cls, layer: StackedLayer, expert: int) -> FactorTensors:
        """Return the tensors of all experts' layer, of which one expert's part is meant."""
        a, b = (lora_name(layer.written, part) for part in (Part.A, Part.B))
        return cls(a, b, (), expert, layer.experts, layer)

    def specs(self, shape: tuple[int, int], rank: int, dtype: str) -> dict[str, TensorSpec]:
        """Return types and shapes of the tensors for an update of shape (d_out, d_in)."""
        d_out, d_in = shape
        if (layer := self.stacked) is not None:
            numbers = (1 if layer.shared is part else layer.experts for part in (Part.A, Part.B))
            parts = zip((self.a, self.b), numbers, ((rank, d_in), (d_out, rank)), strict=True)
            return {name: TensorSpec(dtype, (number, *own)) for name, number, own in parts}
        a: tuple[int, ...] = (rank * self.experts, d_in)
        b: tuple[int, ...] = (d_out, rank * self.experts)
        if self.kernel:
            assert math.prod(self.kernel) == d_in
            a, b = (rank, *self.kernel), (d_out, rank, *(1 for _ in self.kernel[1:]))
        return {self.a: TensorSpec(dtype, a), self.b: TensorSpec(dtype, b)}


@dataclass
class _Gathered:
    """Columns of one B that wait to be written: [experts of the piece, d_out, r]."""

    first: int
    piece: Tensor
    seen: set[int] = field(default_factory=set)


class FactorWriter:
    """Writes the factors of modules into a file; those of experts in the order of their numbers."""

    def __init__(self, writer: SafetensorsWriter) -> None:
        self.writer = writer
        self._gathered: dict[str, _Gathered] = {}

    def write(self, tensors: FactorTensors, factors: Factors) -> None:
        """Write a module's factors, rounded to the file's type.

        Raises:
            MergeError: a finite value does not fit that type.
        """
        if (layer := tensors.stacked) is not None:
            sides = ((Part.A, tensors.a, factors.A), (Part.B, tensors.b, factors.B))
            for part, name, tensor in sides:
                if layer.shared is not part or not tensors.expert:
                    self.writer.write_rows(name, tensors.expert, tensor[None])
            return
        if tensors.experts > 1:
            self.writer.write_rows(tensors.a, tensors.expert * factors.rank, factors.A)
            self._gather(tensors, factors)
            return
        for name, tensor in ((tensors.a, factors.A), (tensors.b, factors.B)):
            self.writer.write(name, tensor.reshape(self.writer.specs[name].shape))

    def _gather(self, tensors: FactorTensors, factors: Factors) -> None:
        spec = self.writer.specs[tensors.b]
        at_once = min(tensors.experts, max(CHUNK * tensors.experts // spec.nbytes, 1))
        first = tensors.expert // at_once * at_once
        gathered = self._gathered.get(tensors.b)
        if gathered is not None and gathered.first != first:
            self._flush(tensors.b, tensors.experts)
            gathered = None
        if gathered is None:
            count = min(at_once, tensors.experts - first)
            piece = torch.zeros(count, *factors.B.shape, dtype=DTYPES[spec.dtype])
            gathered = self._gathered[tensors.b] = _Gathered(first, piece)
        offset = tensors.expert - first
        gathered.piece[offset] = round_to_dtype(factors.B, spec.dtype, tensors.b)
        gathered.seen.add(offset)
        if len(gathered.seen) == len(gathered.piece):
            self._flush(tensors.b, tensors.experts)

    def _flush(self, name: str, experts: int) -> None:
        gathered = self._gathered.pop(name)
        count, d_out, rank = gathered.piece.shape
        if count == experts:
            self.writer.write(name, gathered.piece.view(experts, -1).T.reshape(d_out, -1))
            return
        step = max(_BAND // (rank * experts * gathered.piece.element_size()), 1)
        for begin in range(0, d_out, step):
            end = min(begin + step, d_out)
            band = self.writer.stored_rows(name, begin, end).view(end - begin, rank, experts)
            own = gathered.piece[:, begin:end].permute(1, 2, 0)  # [rows, r, experts of the piece]
            band[:, :, gathered.first : gathered.first + count] = own
            self.writer.write_rows(name, begin, band.flatten(1))

    def finish(self) -> None:
        """Write what is still gathered; experts that never came have no update."""
        for name, gathered in list(self._gathered.items()):
            rank = gathered.piece.shape[2]
            self._flush(name, self.writer.specs[name].shape[1] // rank)


@contextmanager
def opened_factors(path: Path, specs: Mapping[str, TensorSpec]) -> Iterator[FactorWriter]:
    """Yield a writer of factors, and close its file when every tensor is written."""
    with opened_writer(path, specs) as writer:
        factors = FactorWriter(writer)
        yield factors
        factors.finish()
