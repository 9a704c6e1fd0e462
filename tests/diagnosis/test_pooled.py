"""Pooling, worked by hand."""

from __future__ import annotations

import pytest
import torch

from robustmerge.diagnosis.direction import MEASURES, Curve, name_measures
from robustmerge.diagnosis.pooled import ModuleLocation, add_histograms, average_curves, pool
from robustmerge.diagnosis.retention import Retention
from robustmerge.diagnosis.values import Histogram, Values


def module(name: str, tower: str, layer: int | None, projection: str) -> ModuleLocation:
    return ModuleLocation(name, tower, layer, projection, 8, 8, 2)


MODULES = [
    module("l0.q", "language", 0, "q"),
    module("l0.v", "language", 0, "v"),
    module("l1.q", "language", 1, "q"),
    module("t0.q", "vision", 0, "q"),
    module("head", "language", None, "head"),
]


def retention(name: str, coefficient: float | None, weight: float, adapter: str = "a") -> Retention:
    return Retention(name, adapter, "out", coefficient, None, 1.0, 1.0, 1.0, weight)


def test_figures_over_the_model() -> None:
    values = [1.0, 2.0, 6.0, 3.0, None]
    rows = [
        retention(m.module, x, w)
        for m, x, w in zip(MODULES, values, [1.0, 1.0, 2.0, 4.0, 9.0], strict=True)
    ]
    (pooled,) = pool(rows, MODULES, "model")
    assert (pooled.group, pooled.modules) == ("model", 5)
    assert pooled.words == {"adapter": "a", "merged": "out"}
    figure = pooled["coefficient"]
    assert figure.mean == pytest.approx(3)
    assert figure.weighted == pytest.approx((1 + 2 + 12 + 12) / 8)
    assert figure.median == pytest.approx(2.5)
    expected = torch.quantile(torch.tensor([1.0, 2, 3, 6]), torch.tensor([0.1, 0.9])).tolist()
    assert [figure.low, figure.high] == pytest.approx(expected)
    assert "cosine" not in pooled.figures  # undefined everywhere
    assert "weight" not in pooled.figures


def test_groups() -> None:
    rows = [retention(m.module, 1.0, 1.0, a) for m in MODULES for a in "ab"]
    by_projection = [
        (p.group, p.words["adapter"], p.modules) for p in pool(rows, MODULES, "projection")
    ]
    assert ("language q", "a", 2) in by_projection
    assert ("vision q", "b", 1) in by_projection
    assert len(by_projection) == 8
    layers = {p.group for p in pool(rows, MODULES, "layer")}
    assert layers == {"language 0", "language 1", "vision 0", "language"}


def test_without_weights_the_mean_is_plain() -> None:
    rows = [Values("l0.q", "a", "A", 1.0, -1.0), Values("l1.q", "a", "A", 3.0, None)]
    (pooled,) = pool(rows, MODULES, "model")
    assert (pooled["deviation"].weighted, pooled["kurtosis"].weighted) == (2, -1)
    (pooled,) = pool([retention("l0.q", 0.5, 0.0), retention("l1.q", 1.5, 0.0)], MODULES, "model")
    assert pooled["coefficient"].weighted == 1


def test_histograms_add_up_and_curves_are_averaged() -> None:
    counts = [Histogram(m.module, "a", "A", (1, i)) for i, m in enumerate(MODULES)]
    by_projection = {row.module: row.counts for row in add_histograms(counts, MODULES)}
    assert by_projection["language q"] == (2, 2)
    assert by_projection["vision q"] == (1, 3)
    points = [
        Curve(**name_measures([x] * len(MEASURES)), module=m, adapter="a", merged="out", index=i)
        for m, i, x in (("l0.q", 1, 0.2), ("l1.q", 1, 0.6), ("l0.q", 2, 0.5), ("t0.q", 1, 0.9))
    ]
    pooled = {(c.module, c.index): c for c in average_curves(points[2:] + points[:2], MODULES)}
    assert list(pooled) == [("language q", 1), ("language q", 2), ("vision q", 1)]
    assert pooled["language q", 1].answer == pytest.approx(0.4)
    assert pooled["language q", 1].modules == 2
    assert pooled["language q", 2].left == pytest.approx(0.5)
    assert [(c.adapter, c.merged) for c in pooled.values()] == [("a", "out")] * 3
