"""Histograms of A, B and the update, as in the paper's figure 3c."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt

from .. import values
from ..tables import Diagnosis
from .chart import (
    ALL_PROJECTIONS,
    Cell,
    Chart,
    inline_data,
    make_menu,
    menu_filter,
    short_projection,
)

_MATRICES = {"A": "A", "B": "B", "delta": "update Δ"}


def draw_histograms(diagnosis: Diagnosis) -> Iterator[Chart]:
    """Draw the distribution of values, in units of their standard deviation."""
    if not diagnosis.histograms:
        return
    edges = values.histogram_edges()
    width = edges[1] - edges[0]
    cells: list[tuple[Cell, ...]] = []
    for row in diagnosis.histograms:
        group, total = short_projection(diagnosis, row.module), sum(row.counts) or 1
        for left, count in zip(edges, row.counts, strict=False):
            cells.append((row.adapter, row.matrix, group, left + width / 2, count / total / width))
    groups = list(dict.fromkeys(str(c[2]) for c in cells))
    lead = (
        "Values in standard deviations of their matrix; the outermost bins include all values "
        "beyond. The gray area is a Gaussian. A is initialized uniformly (a box), B with zeros."
    )
    yield Chart(
        "histograms",
        "before",
        "Distribution of values in A, B and the update",
        lead,
        _chart(diagnosis, cells, groups),
        (values,),
        wide=True,
    )


def _chart(
    diagnosis: Diagnosis, cells: list[tuple[Cell, ...]], groups: list[str]
) -> alt.LayerChart:
    selected = alt.selection_point(name="selected", fields=["adapter"], bind="legend")
    lines = (
        alt.Chart(inline_data(["adapter", "matrix", "projection"], ["x", "density"], cells))
        .transform_filter(
            f"{menu_filter('matrix')} && {menu_filter('projection', ALL_PROJECTIONS)}"
        )
        .transform_aggregate(density="mean(density)", groupby=["adapter", "x"])
        .encode(
            alt.X("x:Q", title="value / standard deviation"),
            alt.Y("density:Q", title="density"),
            alt.Color("adapter:N", sort=list(diagnosis.adapters), title=None),
            tooltip=[
                "adapter:N",
                alt.Tooltip("x:Q", format=".1f"),
                alt.Tooltip("density:Q", format=".3f"),
            ],
        )
    )
    strength = alt.when(selected).then(alt.value(1)).otherwise(alt.value(0.1))
    curves = lines.mark_line(interpolate="monotone").encode(opacity=strength).add_params(selected)
    targets = lines.mark_point(size=90, opacity=0, filled=True)  # thin lines are hard to hover
    gauss = (
        alt.Chart(alt.sequence(-5, 5.01, 0.1, as_="x"))
        .transform_calculate(density="exp(-datum.x * datum.x / 2) / sqrt(2 * PI)")
        .mark_area(color="gray", opacity=0.18)
        .encode(alt.X("x:Q"), alt.Y("density:Q"))
    )
    menus = (make_menu("matrix", _MATRICES), make_menu("projection", [ALL_PROJECTIONS, *groups]))
    return alt.layer(gauss, curves, targets).add_params(*menus).properties(height=300)
