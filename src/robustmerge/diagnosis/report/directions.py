"""Overlap of directions with merges, as in the paper's figure 7."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt

from .. import direction
from ..tables import Diagnosis
from .chart import (
    ALL_ADAPTERS,
    ALL_PROJECTIONS,
    Cell,
    Chart,
    inline_data,
    make_menu,
    menu_filter,
    short_projection,
)

_MEASURES = {
    "answer": "output cosine",
    "gain": "gain",
    "left": "left vectors, by index",
    "right": "right vectors, by index",
    "both": "both, by index",
    "left_matched": "left, matched",
    "right_matched": "right, matched",
    "both_matched": "both, matched",
    "ratio": "ratio of singular values",
}
"""Columns of the tables `directions` and `curves`, and their labels."""
_RANKS = 32
"""Most directions that are drawn; more points would overlap on a page."""


def draw_directions(diagnosis: Diagnosis) -> Iterator[Chart]:
    """Draw directions by rank in the spectrum, and the largest against the rest."""
    if not diagnosis.curves:
        return
    lead = (
        "How well each merge reproduces an adapter's directions, from the largest on, averaged "
        "over modules. The output cosine needs no matching of directions; similarity of singular "
        "vectors by index is the paper's measure."
    )
    yield Chart(
        "directions",
        "after",
        "Direction overlap by rank in the spectrum",
        lead,
        _curves(diagnosis),
        (direction,),
        wide=True,
    )
    lead = (
        "The same for an adapter's largest direction and for the mean of the rest, over all "
        "modules. A dot is an adapter, a bar the mean of all."
    )
    yield Chart(
        "largest-and-rest",
        "after",
        "Direction overlap: largest and rest",
        lead,
        _parts(diagnosis),
        (direction,),
    )


def _curves(diagnosis: Diagnosis) -> alt.Chart:
    cells: list[tuple[Cell, ...]] = [
        (
            row.merged,
            row.adapter,
            short_projection(diagnosis, row.module),
            row.index,
            row.modules,
            *(getattr(row, m) for m in _MEASURES),
        )
        for row in diagnosis.curves
        if row.index <= _RANKS
    ]
    groups = list(dict.fromkeys(str(c[2]) for c in cells))
    words, numbers = ["merged", "adapter", "projection"], ["index", "modules", *_MEASURES]
    adapter = menu_filter("adapter", ALL_ADAPTERS)
    projection = menu_filter("projection", ALL_PROJECTIONS)
    return (
        alt.Chart(inline_data(words, numbers, cells))
        .transform_filter(f"{adapter} && {projection}")
        .transform_calculate(part="datum[measure] * datum.modules")
        .transform_aggregate(all="sum(part)", modules="sum(modules)", groupby=["merged", "index"])
        .transform_calculate(value="datum.all / datum.modules")
        .mark_line(point=alt.OverlayMarkDef(size=30))
        .encode(
            alt.X(
                "index:Q",
                title="rank in the spectrum",
                scale=alt.Scale(nice=False, zero=False, padding=12),
                axis=alt.Axis(format="d", tickMinStep=1),
            ),
            alt.Y("value:Q", title=None),
            alt.Color("merged:N", sort=list(diagnosis.merged), title=None),
            tooltip=["merged:N", "index:Q", alt.Tooltip("value:Q", format=".3f")],
        )
        .add_params(
            make_menu("measure", _MEASURES),
            make_menu("adapter", [ALL_ADAPTERS, *diagnosis.adapters]),
            make_menu("projection", [ALL_PROJECTIONS, *groups]),
        )
        .properties(height=320)
    )


def _parts(diagnosis: Diagnosis) -> alt.LayerChart:
    cells: list[tuple[Cell, ...]] = [
        (p.words["merged"], p.words["adapter"], p.words["part"], *(p[m].mean for m in _MEASURES))
        for p in diagnosis.pooled("directions")
    ]
    base = (
        alt.Chart(inline_data(["merged", "adapter", "part"], list(_MEASURES), cells))
        .transform_calculate(value="datum[measure]")
        .encode(
            alt.Y("merged:N", sort=list(diagnosis.merged), title=None),
            alt.Color("part:N", sort=["largest", "rest"], title=None),
            yOffset=alt.YOffset("part:N", sort=["largest", "rest"]),
        )
    )
    dots = base.mark_point(filled=True, size=60, opacity=0.55).encode(
        alt.X("value:Q", title=None),
        tooltip=["merged:N", "adapter:N", "part:N", alt.Tooltip("value:Q", format=".3f")],
    )
    mean = base.mark_tick(thickness=3, size=18).encode(
        alt.X("mean(value):Q", title=None),
        tooltip=["merged:N", "part:N", alt.Tooltip("mean(value):Q", title="mean", format=".3f")],
    )
    menus = make_menu("measure", _MEASURES)
    return alt.layer(dots, mean).add_params(menus).properties(height=44 * len(diagnosis.merged))
