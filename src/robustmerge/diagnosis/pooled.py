"""Tables pooled over modules: of the whole model, of each projection or of each layer.

Rows that agree in all their words (adapter, merge, side, …) are pooled. Of every figure there are
its mean over modules, its mean by weight (the energy that the rows name; mostly what the figure is
of the modules taken as one), and its 10 %, 50 % and 90 % quantiles. Undefined figures are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch

from .direction import MEASURES, Curve, by_name
from .values import Histogram

By = Literal["model", "projection", "layer"]
_NUMBERS = ("float", "float | None", "int", "bool")  # of the rows' annotations


@dataclass(frozen=True)
class ModuleLocation:
    """Where a module is.

    Attributes:
        module: Canonical name.
        tower: Part of the model: language, vision, connector or other.
        layer: Number of its layer in that part, None outside the layers.
        projection: The last part of its name.
        d_out: Rows of its weight.
        d_in: Columns of its weight.
        adapters: How many adapters change it.
    """

    module: str
    tower: str
    layer: int | None
    projection: str
    d_out: int
    d_in: int
    adapters: int

    def group(self, by: By) -> str:
        """What the module is pooled under; named with its tower, whose layers are counted apart."""
        if by == "model":
            return "model"
        if by == "projection":
            return f"{self.tower} {self.projection}"
        return self.tower if self.layer is None else f"{self.tower} {self.layer}"


@dataclass(frozen=True)
class Estimate:
    """One figure over several modules.

    Attributes:
        mean: Over modules.
        weighted: By weight, the mean where the rows have none.
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
        group: model, or which projection or layer.
        words: What the rows have in common, such as the adapter.
        modules: How many rows there are.
        figures: Their figures; one that is undefined in all of them is missing.
    """

    group: str
    words: Mapping[str, str]
    modules: int
    figures: Mapping[str, Estimate]

    def __getitem__(self, name: str) -> Estimate:
        return self.figures[name]


def pool(rows: Iterable[Any], modules: Sequence[ModuleLocation], by: By) -> tuple[Pooled, ...]:
    """Pool the rows of one table."""
    place = {m.module: m.group(by) for m in modules}
    found: dict[tuple[object, ...], list[Any]] = defaultdict(list)
    for row in rows:
        found[(place[row.module], *_words(row).values())].append(row)
    return tuple(
        Pooled(str(key[0]), _words(group[0]), len(group), _figures(group))
        for key, group in found.items()
    )


def histograms(
    rows: Iterable[Histogram], modules: Sequence[ModuleLocation]
) -> tuple[Histogram, ...]:
    """Counts added up by projection."""
    place = {m.module: m.group("projection") for m in modules}
    found: dict[tuple[str, str, Any], list[tuple[int, ...]]] = defaultdict(list)
    for row in rows:
        found[place[row.module], row.adapter, row.matrix].append(row.counts)
    return tuple(
        Histogram(*key, tuple(map(sum, zip(*counts, strict=True)))) for key, counts in found.items()
    )


def curves(rows: Iterable[Curve], modules: Sequence[ModuleLocation]) -> tuple[Curve, ...]:
    """Means over the modules of a projection, place by place in the spectrum."""
    place = {m.module: m.group("projection") for m in modules}
    found: dict[tuple[str, str, str, int], list[list[float]]] = defaultdict(list)
    for row in rows:
        figures = [getattr(row, name) for name in MEASURES]
        found[place[row.module], row.adapter, row.merged, row.index].append(figures)
    return tuple(
        Curve(
            **by_name(sum(column) / len(column) for column in zip(*figures, strict=True)),
            module=module,
            adapter=adapter,
            merged=merged,
            index=index,
            modules=len(figures),
        )
        for (module, adapter, merged, index), figures in sorted(found.items())
    )


def _words(row: Any) -> dict[str, str]:
    found = {f.name: getattr(row, f.name) for f in fields(row) if f.name != "module"}
    return {k: v for k, v in found.items() if isinstance(v, str)}


def _figures(rows: Sequence[Any]) -> dict[str, Estimate]:
    names = [f.name for f in fields(rows[0]) if f.type in _NUMBERS]
    weighted = "weight" in names
    found = {}
    for name in (n for n in names if n != "weight"):
        there = [row for row in rows if getattr(row, name) is not None]
        if there:
            values = [float(getattr(row, name)) for row in there]
            found[name] = _figure(values, [row.weight for row in there] if weighted else None)
    return found


def _figure(values: Sequence[float], weights: Sequence[float] | None) -> Estimate:
    x = torch.tensor(values, dtype=torch.float64)
    mean = float(x.mean())
    by = torch.tensor(weights if weights else [0.0], dtype=torch.float64)
    weighted = float((x * by).sum() / by.sum()) if by.sum() > 0 else mean
    spread = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    low, median, high = torch.quantile(x, spread).tolist()
    return Estimate(mean, weighted, low, median, high)
