"""A folder of `robustmerge collect`, with one file of statistics for each adapter.

    statistics.json         which adapters, by the hash of their weights, on which samples
    1-vqa.safetensors       MODULE.gram, MODULE.squares, MODULE.count, MODULE.fisher_A, …

Adapters are recognized by their weights, so that any of them can be merged, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from ..errors import MergeError, advise_unexpanded, few
from ..files import read_json, sha256
from ..statistic_kinds import KINDS, TENSORS, ModuleSizes, Shape, kinds_of
from .reader import Adapter
from .source import local_folder
from .tensor_files import hash_weights
from .tensors import SafetensorsFile

FILE = "statistics.json"
FORMAT = 1
_AGAIN = "collect the statistics again"


@dataclass(frozen=True)
class StatisticsEntry:
    """One collected adapter.

    Attributes:
        label: What the user called it.
        weights: SHA-256 of its weights file.
        ranks: Its rank in every module that it has.
        file: Its statistics.
        sha256: Hash of that file when it was written, '' in records that have none.
    """

    label: str
    weights: str
    ranks: Mapping[str, int]
    file: SafetensorsFile
    sha256: str = ""

    def check_unchanged(self) -> None:
        """Check that the statistics are those that were collected.

        Raises:
            MergeError: the file has another hash.
        """
        if self.sha256 and sha256(self.file.path) != self.sha256:
            raise MergeError(
                f"the file changed since it was collected: {FILE} has another SHA-256",
                where=str(self.file.path),
                hint=f"copy the folder again, or {_AGAIN}",
            )


class Statistics:
    """A folder of statistics.

    Attributes:
        label: What the user called it.
        folder: Its path.
        record: Its statistics.json.
        sha256: Hash of the record, which has those of all files.
        what: The kinds that were gathered.
        entries: The adapters, in the order in which the rows of every Gram matrix stand.
    """

    def __init__(self, source: str | Path) -> None:
        """Read the record and the files' headers; no tensor is read.

        Raises:
            MergeError: the folder is missing, or its files are damaged or of another version.
        """
        self.label = str(source)
        folder = local_folder(self.label)
        if folder is None or not (folder / FILE).is_file():
            raise MergeError(
                f"no {FILE}" if folder else "no such folder",
                where=self.label,
                hint=advise_unexpanded(self.label)
                or "a folder of statistics is what `robustmerge collect` writes",
            )
        self.folder = folder
        self.record = folder / FILE
        self.sha256 = sha256(self.record)
        raw = read_json(self.record, strict=True)
        if raw.get("format") != FORMAT:
            raise MergeError(
                f"statistics of format {raw.get('format')!r:.20}; this version reads {FORMAT}",
                where=str(self.record),
                hint=_AGAIN,
            )
        adapters, what = raw.get("adapters"), raw.get("what")
        if not _is_list(what, lambda kind: isinstance(kind, str)) or not _is_list(
            adapters, _is_entry
        ):
            raise MergeError("not a record of statistics", where=str(self.record), hint=_AGAIN)
        self.what = tuple(kind for kind in KINDS if kind in what)
        self.entries = tuple(_entry(folder, item) for item in adapters)

    def close(self) -> None:
        """Release the files."""
        for entry in self.entries:
            entry.file.close()

    def select(
        self,
        adapters: Sequence[Adapter],
        shapes: Mapping[str, tuple[int, int]],
        needs: Sequence[str],
    ) -> Selection:
        """Select the statistics of these adapters' modules, in their order.

        Args:
            adapters: The adapters of a merge.
            shapes: (d_out, d_in) of the modules that are merged.
            needs: Names of the tensors that are needed.

        Raises:
            MergeError: some of them were not collected.
        """
        for kind in kinds_of(needs):
            if kind not in self.what:
                raise MergeError(
                    f"statistics of the kind {kind} were not collected",
                    where=f"{self.label}   {', '.join(self.what)}",
                    hint=f"{_AGAIN} with --what {' '.join(dict.fromkeys((*self.what, kind)))}",
                )
        selection = Selection(self, self._positions(adapters), tuple(needs))
        for position in dict.fromkeys(selection.positions):
            self.entries[position].check_unchanged()
        for name, shape in shapes.items():
            selection.check(name, shape)
        return selection

    def _positions(self, adapters: Sequence[Adapter]) -> tuple[int, ...]:
        """Find the entry of each adapter; of equal adapters, the n-th is the n-th equal entry."""
        positions: list[int] = []
        for adapter in adapters:
            weights = hash_weights(adapter.paths.weights)
            alike = [n for n, entry in enumerate(self.entries) if entry.weights == weights]
            if not alike:
                known = few([entry.label for entry in self.entries])
                raise MergeError(
                    f"{adapter.label} is not among the adapters the statistics were collected from",
                    where=f"{adapter.paths.weights[0]}\n{self.label}   {known}",
                    hint=f"{_AGAIN} with this adapter; adapters are recognized by their "
                    "weights file, wherever it is",
                )
            position = next((n for n in alike if n not in positions), alike[0])
            if dict(self.entries[position].ranks) != {
                n: m.rank for n, m in adapter.modules.items()
            }:
                raise MergeError(
                    "the statistics are of other ranks than the adapter has",
                    where=f"{adapter.paths.weights[0]}\n{self.record}",
                    hint=_AGAIN,
                )
            positions.append(position)
        return tuple(positions)


@dataclass(frozen=True)
class Selection:
    """The statistics of a merge's adapters.

    Attributes:
        statistics: The folder.
        positions: The position of each adapter among its entries.
        needs: Names of the tensors that are needed.
    """

    statistics: Statistics
    positions: tuple[int, ...]
    needs: tuple[str, ...]

    def module(self, name: str, shape: tuple[int, int]) -> tuple[Mapping[str, Tensor], ...]:
        """Read one module's statistics, a table for each adapter.

        An adapter without the module has Fisher values of rank 0. The rows and columns of Gram
        matrices are the rows of A of the selected adapters.
        """
        entries = self.statistics.entries
        ranks = [entry.ranks.get(name, 0) for entry in entries]
        ends = list(accumulate(ranks))
        rows = torch.cat([torch.arange(ends[n] - ranks[n], ends[n]) for n in self.positions])
        tables = []
        for n in self.positions:
            shapes = self._shapes(name, ranks, n, shape)
            table = {
                need: _finite(entries[n].file, f"{name}.{need}") if all(size) else torch.zeros(size)
                for need, size in shapes.items()
            }
            for need in table:
                if TENSORS[need].between_adapters:
                    table[need] = table[need][rows][:, rows]  # [R, R] of the selected adapters
            tables.append({need: tensor.double() for need, tensor in table.items()})
        return tuple(tables)

    def check(self, name: str, shape: tuple[int, int]) -> None:
        """Check by the headers that all of a module's statistics are there.

        Raises:
            MergeError: a tensor is missing or of another shape.
        """
        entries = self.statistics.entries
        ranks = [entry.ranks.get(name, 0) for entry in entries]
        for n in self.positions:
            specs = entries[n].file.specs
            for need, size in self._shapes(name, ranks, n, shape).items():
                spec = specs.get(f"{name}.{need}")
                if spec is None and 0 in size:
                    continue
                if spec is None or spec.shape != size:
                    what = (
                        "no" if spec is None else f"{list(spec.shape)} instead of {list(size)} as"
                    )
                    raise MergeError(
                        f"{what} {need} of the module {name}",
                        where=str(entries[n].file.path),
                        hint=f"{_AGAIN}; they are not of these adapters as they are now",
                    )

    def _shapes(
        self, name: str, ranks: Sequence[int], n: int, shape: tuple[int, int]
    ) -> dict[str, Shape]:
        """Return the shapes of an entry's tensors of a module."""
        sizes = ModuleSizes(*shape, rank=ranks[n], ranks=sum(ranks))
        return {need: TENSORS[need].shape(sizes) for need in self.needs if need in TENSORS}


def _finite(file: SafetensorsFile, name: str) -> Tensor:
    """Read a tensor of numbers.

    Raises:
        MergeError: some of them are NaN or infinite.
    """
    tensor = file.read(name)
    if not tensor.isfinite().all():
        raise MergeError(
            f"{int((~tensor.isfinite()).sum())} of {tensor.numel()} values are NaN or infinite",
            where=f"{file.path}  {name}",
            hint=f"{_AGAIN}; with --dtype float32, if the model's outputs are not finite",
        )
    return tensor


def _is_list(value: object, known: Callable[[object], bool]) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and bool(value) and all(known(item) for item in value)


def _is_entry(item: object) -> bool:
    """Return whether this has the fields of an entry."""
    if not isinstance(item, dict):
        return False
    words = [item.get(field) for field in ("adapter", "weights", "file")]
    ranks = item.get("ranks")
    return (
        all(isinstance(word, str) for word in words)
        and Path(item["file"]).name == item["file"]  # the file must lie in the folder itself
        and isinstance(ranks, dict)
        and all(type(rank) is int and rank >= 0 for rank in ranks.values())
    )


def _entry(folder: Path, item: Mapping[str, Any]) -> StatisticsEntry:
    try:
        file = SafetensorsFile(folder / item["file"])
    except MergeError as error:
        raise MergeError(error.problem, where=error.where, hint=_AGAIN) from None
    known = str(item.get("sha256") or "")
    return StatisticsEntry(item["adapter"], item["weights"], item["ranks"], file, known)
