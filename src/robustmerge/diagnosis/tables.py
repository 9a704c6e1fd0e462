"""What was found: tables of plain rows, one row for each module and adapter, pair or merge.

`to_dict` is the same for JSON. Its shape is kept: tables and columns may be added, and `schema`
counts up if one is renamed or means something else.
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
from .values import Histogram, Values, edges

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
"""The tables, and what their rows are."""
POOLED = tuple(name for name in ROWS if name not in ("modules", "histograms", "curves"))
"""Names of the tables that can be pooled over modules."""
_DIGITS = 6  # of a figure in JSON


@dataclass(frozen=True)
class Diagnosis:
    """Adapters, and merges of them, taken apart.

    Attributes:
        adapters: Their names, as in the tables.
        merged: Names of the merges.
        base: What the user called the base, None where none was given.
        notes: What a careful user should know.
        modules: Where every module is.
        spectra: Singular values of every update, and of every merge's.
        values: Spread and shape of the values of A, B and the updates.
        pairs: Every two adapters.
        signs: Sign conflict of all adapters.
        crowding: Directions that several adapters use.
        apart: What merging A's and B's apart would do.
        total: The plain sum of the updates.
        heard: Every adapter in that sum.
        directions: What became of the adapters' directions, the largest and the rest.
        kept: How much of every adapter is in every merge.
        noise: How much of every merge is of no adapter.
        histograms: Values counted, by projection instead of module.
        curves: What became of the directions by their place in the spectrum, by projection.
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
        found = list(rows)

        def those(kind: type[T]) -> tuple[T, ...]:
            return tuple(row for row in found if isinstance(row, kind))

        return cls(
            tuple(adapters),
            tuple(merged),
            base,
            tuple(notes),
            tuple(modules),
            spectra=those(Spectrum),
            values=those(Values),
            pairs=those(PairOverlap),
            signs=those(Signs),
            crowding=those(SharedDirections),
            apart=those(CrossTerms),
            total=those(UpdateSum),
            heard=those(Contribution),
            directions=those(Direction),
            kept=those(Retention),
            noise=those(Unattributed),
            histograms=pooled.histograms(those(Histogram), modules),
            curves=pooled.curves(those(Curve), modules),
        )

    def pooled(self, table: str, by: By = "model") -> tuple[Pooled, ...]:
        """One of the tables that have a row for each module, pooled over modules.

        Args:
            table: Its name, such as "pairs".
            by: Over the whole model, over each projection, or over each layer.

        Raises:
            ValueError: There is no such table, or it is not of modules.
        """
        if table not in POOLED:
            raise ValueError(f"{table!r} is not one of {', '.join(POOLED)}")
        return pooled.pool(getattr(self, table), self.modules, by)

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON: tables by columns, and pooled over the model."""
        return {
            "schema": SCHEMA,
            "adapters": list(self.adapters),
            "merged": list(self.merged),
            "base": self.base,
            "notes": list(self.notes),
            "histogram_edges": edges(),
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
    """A table by columns, as data frames are made of."""
    return {f.name: [_rounded(getattr(row, f.name)) for row in rows] for f in fields(kind)}


def _rounded(value: Any) -> Any:
    """Floats with few digits; what JSON has no word for is null."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [_rounded(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
