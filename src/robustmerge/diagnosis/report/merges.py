"""Merges side by side: energy by origin, and retention."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt

from .. import retention, unattributed
from ..tables import Diagnosis
from .chart import Cell, Chart, inline_data
from .matrices import CONTRAST, NUMBERS

_STEP = 34  # pixels of a row
_PARTS = {
    "tasks": "span of the updates",
    "recombined": "recombined",
    "cross": "cross terms",
    "outside": "unattributed",
}
"""Columns of the table `noise`, and their labels."""


def draw_merges(diagnosis: Diagnosis) -> Iterator[Chart]:
    """Draw the origin of each merge's energy, and the coefficients of the adapters in it."""
    shares: list[tuple[Cell, ...]] = [
        (row.words["merged"], name, order, row[part].weighted)
        for row in diagnosis.pooled("noise")
        for order, (part, name) in enumerate(_PARTS.items())
        if part in row.figures
    ]
    if shares:
        lead = (
            "Shares of the merged update's energy: in the span of the adapters' updates; in single "
            "adapters' directions, recombined; in cross terms, one adapter's outputs on another's "
            "inputs; unattributed, outside of all adapters' directions."
        )
        yield Chart(
            "whose",
            "after",
            "Energy of merges by origin",
            lead,
            _bars(diagnosis, shares),
            (unattributed,),
        )
    coefficients: list[tuple[Cell, ...]] = [
        (p.words["merged"], p.words["adapter"], p["coefficient"].weighted, p["cosine"].weighted)
        for p in diagnosis.pooled("kept")
        if "coefficient" in p.figures and "cosine" in p.figures
    ]
    if coefficients:
        lead = (
            "Coefficient of each adapter's update in each merge. A row of low values may be too "
            "small, one of high values too large; an uneven row retains some adapters better."
        )
        yield Chart(
            "kept",
            "after",
            "Retained coefficient per adapter",
            lead,
            _matrix(diagnosis, coefficients),
            (retention,),
        )


def _bars(diagnosis: Diagnosis, cells: list[tuple[Cell, ...]]) -> alt.Chart:
    return (
        alt.Chart(inline_data(["merged", "part"], ["order", "share"], cells))
        .mark_bar()
        .encode(
            alt.X(
                "share:Q",
                title=None,
                axis=alt.Axis(format=".0%", tickCount=5),
                scale=alt.Scale(domain=[0, 1]),
                stack="zero",
            ),
            alt.Y("merged:N", sort=list(diagnosis.merged), title=None),
            alt.Color("part:N", sort=list(_PARTS.values()), title=None),
            order="order:Q",
            tooltip=["merged:N", "part:N", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(height=_STEP * len(diagnosis.merged))
    )


def _matrix(diagnosis: Diagnosis, cells: list[tuple[Cell, ...]]) -> alt.LayerChart:
    base = alt.Chart(inline_data(["merged", "adapter"], ["value", "cosine"], cells)).encode(
        alt.X(
            "adapter:N", sort=list(diagnosis.adapters), title=None, axis=alt.Axis(labelAngle=-40)
        ),
        alt.Y("merged:N", sort=list(diagnosis.merged), title=None),
        tooltip=[
            "merged:N",
            "adapter:N",
            alt.Tooltip("value:Q", title="coefficient", format=".3f"),
            alt.Tooltip("cosine:Q", format=".3f"),
        ],
    )
    color = alt.Color(
        "value:Q",
        scale=alt.Scale(range="heatmap", zero=True),
        legend=alt.Legend(title=None, format=".2~g", tickCount=5),
    )
    layered = [base.mark_rect().encode(color)]
    if len(diagnosis.adapters) <= NUMBERS:
        text = alt.Text("value:Q", format=".2f")
        layered.append(base.mark_text(fontSize=11, fill=alt.expr(CONTRAST)).encode(text=text))
    return alt.layer(*layered).properties(height=_STEP * len(diagnosis.merged))
