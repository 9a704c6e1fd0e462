"""Histograms of A, B and the update, as in the paper's figure 3c."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt

from .. import values
from ..tables import Diagnosis
from .figure import EVERY, Cell, Chart, chosen, data, menu, short

_MATRICES = {"A": "A", "B": "B", "delta": "update Δ"}


def histograms(found: Diagnosis) -> Iterator[Chart]:
    """How values are distributed, in units of their deviation."""
    if not found.histograms:
        return
    edges = values.histogram_edges()
    width = edges[1] - edges[0]
    cells: list[tuple[Cell, ...]] = []
    for row in found.histograms:
        group, of = short(found, row.module), sum(row.counts) or 1
        for left, count in zip(edges, row.counts, strict=False):
            cells.append((row.adapter, row.matrix, group, left + width / 2, count / of / width))
    groups = list(dict.fromkeys(str(c[2]) for c in cells))
    lead = (
        "How often each value is met, in standard deviations of the matrix; the outermost bins "
        "hold what is beyond. The gray area is a Gaussian. A begins uniform (a box), B at zero."
    )
    yield Chart(
        "histograms",
        "before",
        "Values of A, B and the update",
        lead,
        _chart(found, cells, groups),
        (values,),
        wide=True,
    )


def _chart(found: Diagnosis, cells: list[tuple[Cell, ...]], groups: list[str]) -> alt.LayerChart:
    picked = alt.selection_point(name="picked", fields=["adapter"], bind="legend")
    lines = (
        alt.Chart(data(["adapter", "matrix", "projection"], ["x", "density"], cells))
        .transform_filter(f"{chosen('matrix')} && {chosen('projection', EVERY)}")
        .transform_aggregate(density="mean(density)", groupby=["adapter", "x"])
        .encode(
            alt.X("x:Q", title="value / standard deviation"),
            alt.Y("density:Q", title="density"),
            alt.Color("adapter:N", sort=list(found.adapters), title=None),
            tooltip=[
                "adapter:N",
                alt.Tooltip("x:Q", format=".1f"),
                alt.Tooltip("density:Q", format=".3f"),
            ],
        )
    )
    strength = alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.1))
    curves = lines.mark_line(interpolate="monotone").encode(opacity=strength).add_params(picked)
    touched = lines.mark_point(size=90, opacity=0, filled=True)  # a line alone is hard to point at
    gauss = (
        alt.Chart(alt.sequence(-5, 5.01, 0.1, as_="x"))
        .transform_calculate(density="exp(-datum.x * datum.x / 2) / sqrt(2 * PI)")
        .mark_area(color="gray", opacity=0.18)
        .encode(alt.X("x:Q"), alt.Y("density:Q"))
    )
    menus = (menu("matrix", _MATRICES), menu("projection", [EVERY, *groups]))
    return alt.layer(gauss, curves, touched).add_params(*menus).properties(height=300)
