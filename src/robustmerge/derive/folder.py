"""Write an adapter folder whose rank is known only when the last module is done.

Every module's factors are put into a file of their own, in a hidden folder inside the unfinished
result, until the largest rank is known; then they are filled up with zeros to that rank and written
in order. That costs the adapter's size of disk space for a while, and no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from ..adapter.config import FILE
from ..adapter.keys import Part, full_name, lora_name
from ..adapter.precision import fit_float16
from ..adapter.settings import lora_settings, saved_modules
from ..adapter.tensor_files import BESIDE
from ..adapter.tensors import TensorSpec
from ..adapter.writer import SafetensorsWriter, opened_writer, saving
from ..errors import within
from ..factors import Factors
from ..files import check_space, write_json

WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class StagedUpdate:
    """A module's update, put aside until the rank of the result is known.

    Attributes:
        name: Canonical name.
        written: Name in the result.
        shape: (d_out, d_in).
        rank: Its own rank.
        file: Where its factors are.
    """

    name: str
    written: str
    shape: tuple[int, int]
    rank: int
    file: Path

    @classmethod
    def put(cls, factors: Factors, name: str, written: str, file: Path) -> StagedUpdate:
        """Put factors aside, in float32."""
        tensors = {"A": factors.A.float().contiguous(), "B": factors.B.float().contiguous()}
        with saving(file):
            save_file(tensors, file)
        return cls(name, written, factors.shape, factors.rank, file)

    def factors(self) -> Factors:
        """Read the factors."""
        return Factors(**load_file(self.file))

    @property
    def names(self) -> tuple[str, str]:
        """The names of A and B in the result."""
        return lora_name(self.written, Part.A), lora_name(self.written, Part.B)

    def specs(self, rank: int, dtype: str) -> dict[str, TensorSpec]:
        """Return types and shapes of A [rank d_in] and B [d_out rank] in the result."""
        a, b = self.names
        d_out, d_in = self.shape
        return {a: TensorSpec(dtype, (rank, d_in)), b: TensorSpec(dtype, (d_out, rank))}


@dataclass(frozen=True)
class PassedOn:
    """A fully trained parameter, written as it is.

    Attributes:
        written: Its name in the result, without the prefix.
        spec: Its type and shape.
        read: Reads it.
    """

    written: str
    spec: TensorSpec
    read: Callable[[], Tensor]


@dataclass(frozen=True)
class WrittenAdapter:
    """The rank of an adapter that was written, and remarks on what its type loses."""

    rank: int
    remarks: tuple[str, ...]


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Yield a folder inside the unfinished result, and remove it afterwards."""
    with TemporaryDirectory(dir=folder, prefix=".staged-") as inside:
        yield Path(inside)


def write_adapter(
    folder: Path,
    updates: Sequence[StagedUpdate],
    extras: Sequence[PassedOn],
    *,
    raw: Mapping[str, Any],
    base: str,
    dtype: str,
    beside: bool = False,
) -> WrittenAdapter:
    """Write weights and settings of plain LoRA at one rank, the largest.

    Args:
        folder: The unfinished result.
        updates: The modules, in the order of the file.
        extras: Fully trained parameters.
        raw: Settings whose task type and wiring are kept.
        base: Base model.
        dtype: Safetensors name of the factors' type.
        beside: Write the extras to a file of their own.

    Raises:
        MergeError: the disk is full, or a value does not fit the type.
    """
    rank = max(update.rank for update in updates)
    remarks: list[str] = []
    lora = {k: v for update in updates for k, v in update.specs(rank, dtype).items()}
    others = {e.written if beside else full_name(e.written): e for e in extras}
    specs = {name: extra.spec for name, extra in others.items()}
    check_space(folder, sum(spec.nbytes for spec in (lora | specs).values()))
    with opened_writer(folder / WEIGHTS, lora if beside else lora | specs) as writer:
        for update in updates:
            factors = update.factors().pad(rank)
            if dtype == "F16":
                with within(update.name):
                    factors, remark = fit_float16(factors)
                remarks += [remark] if remark else []
            for name, tensor in zip(update.names, (factors.A, factors.B), strict=True):
                writer.write(name, tensor)
        if not beside:
            _pass_on(writer, others)
    if beside and others:
        with opened_writer(folder / BESIDE, specs) as writer:
            _pass_on(writer, others)
    saved = [] if beside else saved_modules((), [extra.written for extra in extras])
    canonical, written = [u.name for u in updates], [u.written for u in updates]
    write_json(folder / FILE, lora_settings(raw, canonical, written, rank, base, saved))
    return WrittenAdapter(rank, tuple(dict.fromkeys(remarks)))


def _pass_on(writer: SafetensorsWriter, extras: Mapping[str, PassedOn]) -> None:
    for name, extra in extras.items():
        writer.write(name, extra.read())
