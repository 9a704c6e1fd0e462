"""The result of a diagnosis: tables of plain rows, one for each module and adapter, pair or merge.

Names of tables and columns are the data format of `robustmerge diagnose --json`, which `to_dict`
writes, and of `Diagnosis`. The format is stable: tables and columns may be added, and `schema`
counts up if one is renamed or changes its meaning. What people read names the quantities by TITLES.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from . import pooled
from .contributions import Contribution, UpdateSum
from .cross_terms import CrossTerms
from .direction import Curve, Direction
from .pairs import PairOverlap
from .pooled import By, ModuleLocation, Pooled
from .retention import Retention
from .shared_directions import SharedDirections
from .signs import Signs
from .spectrum import Spectrum
from .survey import Row
from .unattributed import Unattributed
from .values import Histogram, Values, histogram_edges

SCHEMA = 1
T = TypeVar("T")
ROWS: Mapping[str, type] = {
    "modules": ModuleLocation,
    "spectra": Spectrum,
    "values": Values,
    "pairs": PairOverlap,
    "signs": Signs,
    "crowding": SharedDirections,
    "apart": CrossTerms,
    "total": UpdateSum,
    "heard": Contribution,
    "directions": Direction,
    "kept": Retention,
    "noise": Unattributed,
    "histograms": Histogram,
    "curves": Curve,
}
"""The tables and the types of their rows."""
TITLES: Mapping[str, str] = {
    "modules": "Modules",
    "spectra": "Singular value spectra",
    "values": "Distribution of values",
    "pairs": "Pairs of adapters",
    "signs": "Sign conflict",
    "crowding": "Shared directions",
    "apart": "Cross terms",
    "total": "Sum of the updates",
    "heard": "Contributions to the sum",
    "directions": "Direction overlap",
    "kept": "Retention",
    "noise": "Unattributed energy",
    "histograms": "Histograms",
    "curves": "Direction overlap by rank in the spectrum",
}
"""What the tables are called where people read about them."""
POOLED = tuple(name for name in ROWS if name not in ("modules", "histograms", "curves"))
"""Names of the tables that can be pooled over modules."""
_DIGITS = 6  # of a figure in JSON


@dataclass(frozen=True)
class Diagnosis:
    """The diagnosis of adapters, and of merges of them.

    Attributes:
        adapters: Their names, as in the tables.
        merged: Names of the merges.
        base: The base as the user named it, None without a base.
        notes: Warnings about the inputs.
        modules: Name, position and shape of every module.
        spectra: Singular values of every adapter's and every merge's update.
        values: Spread and shape of the values of A, B and the updates.
        pairs: Similarity and conflict of every two adapters.
        signs: Sign conflict of all adapters.
        crowding: Directions that several adapters share.
        apart: Cross terms of merging A's and B's separately.
        total: The plain sum of the updates.
        heard: Contribution of every adapter to that sum.
        directions: Overlap of the adapters' directions with the merges, largest and rest.
        kept: How much of every adapter every merge retains.
        noise: How much of every merge's energy the adapters explain.
        histograms: Counts of values, by projection instead of module.
        curves: Overlap of directions by rank in the spectrum, by projection instead of module.
    """

    adapters: tuple[str, ...]
    merged: tuple[str, ...]
    base: str | None
    notes: tuple[str, ...]
    modules: tuple[ModuleLocation, ...]
    spectra: tuple[Spectrum, ...]
    values: tuple[Values, ...]
    pairs: tuple[PairOverlap, ...]
    signs: tuple[Signs, ...]
    crowding: tuple[SharedDirections, ...]
    apart: tuple[CrossTerms, ...]
    total: tuple[UpdateSum, ...]
    heard: tuple[Contribution, ...]
    directions: tuple[Direction, ...]
    kept: tuple[Retention, ...]
    noise: tuple[Unattributed, ...]
    histograms: tuple[Histogram, ...]
    curves: tuple[Curve, ...]

    @classmethod
    def of(
        cls,
        rows: Iterable[Row],
        modules: Sequence[ModuleLocation],
        *,
        adapters: Sequence[str],
        merged: Sequence[str] = (),
        base: str | None = None,
        notes: Sequence[str] = (),
    ) -> Diagnosis:
        """Sort the rows of all modules into tables."""
        every = list(rows)

        def select(kind: type[T]) -> tuple[T, ...]:
            return tuple(row for row in every if isinstance(row, kind))

        return cls(
            tuple(adapters),
            tuple(merged),
            base,
            tuple(notes),
            tuple(modules),
            spectra=select(Spectrum),
            values=select(Values),
            pairs=select(PairOverlap),
            signs=select(Signs),
            crowding=select(SharedDirections),
            apart=select(CrossTerms),
            total=select(UpdateSum),
            heard=select(Contribution),
            directions=select(Direction),
            kept=select(Retention),
            noise=select(Unattributed),
            histograms=pooled.add_histograms(select(Histogram), modules),
            curves=pooled.average_curves(select(Curve), modules),
        )

    def pooled(self, table: str, by: By = "model") -> tuple[Pooled, ...]:
        """Return a table that has a row for each module, pooled over modules.

        Args:
            table: Its name, such as "pairs".
            by: Over the whole model, over each projection, or over each layer.

        Raises:
            ValueError: the table does not exist, or cannot be pooled.
        """
        if table not in POOLED:
            raise ValueError(f"{table!r} is not one of {', '.join(POOLED)}")
        return pooled.pool(getattr(self, table), self.modules, by)

    def count_inputs(self) -> list[str]:
        """Return the numbers of modules, adapters and merges, if any, in words."""
        counts = {"module": len(self.modules), "adapter": len(self.adapters)}
        if self.merged:
            counts["merge"] = len(self.merged)
        return [f"{n} {noun}" if n == 1 else f"{n} {noun}s" for noun, n in counts.items()]

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON: tables by columns, and pooled over the model."""
        return {
            "schema": SCHEMA,
            "adapters": list(self.adapters),
            "merged": list(self.merged),
            "base": self.base,
            "notes": list(self.notes),
            "histogram_edges": histogram_edges(),
            "tables": {name: _columns(getattr(self, name), kind) for name, kind in ROWS.items()},
            "pooled": {
                name: [
                    {
                        **group.words,
                        "modules": group.modules,
                        **{k: _rounded(asdict(v)) for k, v in group.figures.items()},
                    }
                    for group in self.pooled(name)
                ]
                for name in POOLED
            },
        }


def _columns(rows: Sequence[Any], kind: type) -> dict[str, list[Any]]:
    """Return a table by columns, ready for a data frame."""
    return {f.name: [_rounded(getattr(row, f.name)) for row in rows] for f in fields(kind)}


def _rounded(value: Any) -> Any:
    """Round floats to few digits; infinities and NaN are null."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [_rounded(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
