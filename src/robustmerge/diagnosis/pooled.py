"""Tables pooled over modules: over the whole model, each projection or each layer.

Rows with the same words (adapter, merge, side, …) are pooled. For every figure there are its mean
over modules, its mean weighted by the rows' `weight` (an energy, so that mostly this is the figure
of all modules taken as one matrix), and its 10 %, 50 % and 90 % quantiles. Undefined figures are
left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch

from .direction import MEASURES, Curve, name_measures
from .values import Histogram

By = Literal["model", "projection", "layer"]
_NUMBERS = ("float", "float | None", "int", "bool")  # of the rows' annotations


@dataclass(frozen=True)
class ModuleLocation:
    """Name, position and shape of a module.

    Attributes:
        module: Canonical name.
        tower: Part of the model: language, vision, connector or other.
        layer: Number of its layer in that part, None outside of layers.
        projection: The last part of its name.
        d_out: Rows of its weight.
        d_in: Columns of its weight.
        adapters: Number of adapters that change it.
    """

    module: str
    tower: str
    layer: int | None
    projection: str
    d_out: int
    d_in: int
    adapters: int

    def group(self, by: By) -> str:
        """Return the name of the module's group, with its tower: towers are pooled separately."""
        if by == "model":
            return "model"
        if by == "projection":
            return f"{self.tower} {self.projection}"
        return self.tower if self.layer is None else f"{self.tower} {self.layer}"


@dataclass(frozen=True)
class Estimate:
    """One figure over several modules.

    Attributes:
        mean: Mean over modules.
        weighted: Mean by weight, equal to `mean` if the rows have no weights.
        low: 10 % quantile.
        median: 50 % quantile.
        high: 90 % quantile.
    """

    mean: float
    weighted: float
    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Pooled:
    """Rows of several modules as one.

    Attributes:
        group: model, or the name of a projection or layer.
        words: The text columns, which all rows have in common, such as the adapter.
        modules: Number of rows.
        figures: Their figures; without those that are undefined in all rows.
    """

    group: str
    words: Mapping[str, str]
    modules: int
    figures: Mapping[str, Estimate]

    def __getitem__(self, name: str) -> Estimate:
        return self.figures[name]


def pool(rows: Iterable[Any], modules: Sequence[ModuleLocation], by: By) -> tuple[Pooled, ...]:
    """Pool the rows of one table."""
    names = {m.module: m.group(by) for m in modules}
    groups: dict[tuple[object, ...], list[Any]] = defaultdict(list)
    for row in rows:
        groups[(names[row.module], *_words(row).values())].append(row)
    return tuple(
        Pooled(str(key[0]), _words(group[0]), len(group), _estimate_columns(group))
        for key, group in groups.items()
    )


def add_histograms(
    rows: Iterable[Histogram], modules: Sequence[ModuleLocation]
) -> tuple[Histogram, ...]:
    """Add up counts by projection."""
    names = {m.module: m.group("projection") for m in modules}
    groups: dict[tuple[str, str, Any], list[tuple[int, ...]]] = defaultdict(list)
    for row in rows:
        groups[names[row.module], row.adapter, row.matrix].append(row.counts)
    return tuple(
        Histogram(*key, tuple(map(sum, zip(*counts, strict=True))))
        for key, counts in groups.items()
    )


def average_curves(rows: Iterable[Curve], modules: Sequence[ModuleLocation]) -> tuple[Curve, ...]:
    """Average curves over the modules of a projection."""
    names = {m.module: m.group("projection") for m in modules}
    groups: dict[tuple[str, str, str, int], list[list[float]]] = defaultdict(list)
    for row in rows:
        figures = [getattr(row, name) for name in MEASURES]
        groups[names[row.module], row.adapter, row.merged, row.index].append(figures)
    return tuple(
        Curve(
            **name_measures(sum(column) / len(column) for column in zip(*figures, strict=True)),
            module=module,
            adapter=adapter,
            merged=merged,
            index=index,
            modules=len(figures),
        )
        for (module, adapter, merged, index), figures in sorted(groups.items())
    )


def _words(row: Any) -> dict[str, str]:
    columns = {f.name: getattr(row, f.name) for f in fields(row) if f.name != "module"}
    return {k: v for k, v in columns.items() if isinstance(v, str)}


def _estimate_columns(rows: Sequence[Any]) -> dict[str, Estimate]:
    names = [f.name for f in fields(rows[0]) if f.type in _NUMBERS]
    weighted = "weight" in names
    estimates = {}
    for name in (n for n in names if n != "weight"):
        defined = [row for row in rows if getattr(row, name) is not None]
        if defined:
            values = [float(getattr(row, name)) for row in defined]
            weights = [row.weight for row in defined] if weighted else None
            estimates[name] = _estimate(values, weights)
    return estimates


def _estimate(values: Sequence[float], weights: Sequence[float] | None) -> Estimate:
    x = torch.tensor(values, dtype=torch.float64)
    mean = float(x.mean())
    w = torch.tensor(weights if weights else [0.0], dtype=torch.float64)
    weighted = float((x * w).sum() / w.sum()) if w.sum() > 0 else mean
    quantiles = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    low, median, high = torch.quantile(x, quantiles).tolist()
    return Estimate(mean, weighted, low, median, high)
