"""What became of directions, as in the paper's figure 7."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt

from .. import direction
from ..tables import Diagnosis
from .figure import ALL, EVERY, Cell, Chart, chosen, data, menu, short

_MEASURES = {
    "answer": "answer",
    "gain": "gain",
    "left": "left vectors, by index",
    "right": "right vectors, by index",
    "both": "both, by index",
    "left_matched": "left, matched",
    "right_matched": "right, matched",
    "both_matched": "both, matched",
    "ratio": "ratio of singular values",
}
_PLACES = 32
"""Most places in the spectrum that are drawn."""


def directions(found: Diagnosis) -> Iterator[Chart]:
    """Directions by their place in the spectrum, and the largest against the rest."""
    if not found.curves:
        return
    lead = (
        "An adapter's directions from the largest on, and what each merge has made of them, "
        "averaged over modules. Choose the measure: `answer` needs no matching; similarity of "
        "singular vectors by index is the paper's."
    )
    yield Chart(
        "directions",
        "after",
        "What became of the directions",
        lead,
        _curves(found),
        (direction,),
        wide=True,
    )
    lead = (
        "The same for an adapter's largest direction and for the mean of the rest, each dot one "
        "adapter, over all modules."
    )
    yield Chart(
        "largest-and-rest", "after", "The largest, and the rest", lead, _parts(found), (direction,)
    )


def _curves(found: Diagnosis) -> alt.Chart:
    cells: list[tuple[Cell, ...]] = [
        (
            row.merged,
            row.adapter,
            short(found, row.module),
            row.index,
            row.modules,
            *(getattr(row, m) for m in _MEASURES),
        )
        for row in found.curves
        if row.index <= _PLACES
    ]
    groups = list(dict.fromkeys(str(c[2]) for c in cells))
    words, numbers = ["merged", "adapter", "projection"], ["index", "modules", *_MEASURES]
    return (
        alt.Chart(data(words, numbers, cells))
        .transform_filter(f"{chosen('adapter', ALL)} && {chosen('projection', EVERY)}")
        .transform_calculate(one="datum[measure] * datum.modules")
        .transform_aggregate(all="sum(one)", modules="sum(modules)", groupby=["merged", "index"])
        .transform_calculate(value="datum.all / datum.modules")
        .mark_line(point=alt.OverlayMarkDef(size=30))
        .encode(
            alt.X(
                "index:Q",
                title="direction i",
                scale=alt.Scale(nice=False, zero=False, padding=12),
                axis=alt.Axis(format="d", tickMinStep=1),
            ),
            alt.Y("value:Q", title=None),
            alt.Color("merged:N", sort=list(found.merged), title=None),
            tooltip=["merged:N", "index:Q", alt.Tooltip("value:Q", format=".3f")],
        )
        .add_params(
            menu("measure", _MEASURES),
            menu("adapter", [ALL, *found.adapters]),
            menu("projection", [EVERY, *groups]),
        )
        .properties(height=320)
    )


def _parts(found: Diagnosis) -> alt.LayerChart:
    cells: list[tuple[Cell, ...]] = [
        (p.words["merged"], p.words["adapter"], p.words["part"], *(p[m].mean for m in _MEASURES))
        for p in found.pooled("directions")
    ]
    whole = (
        alt.Chart(data(["merged", "adapter", "part"], list(_MEASURES), cells))
        .transform_calculate(value="datum[measure]")
        .encode(
            alt.Y("merged:N", sort=list(found.merged), title=None),
            alt.Color("part:N", sort=["largest", "rest"], title=None),
            yOffset=alt.YOffset("part:N", sort=["largest", "rest"]),
        )
    )
    dots = whole.mark_point(filled=True, size=60, opacity=0.55).encode(
        alt.X("value:Q", title=None),
        tooltip=["merged:N", "adapter:N", "part:N", alt.Tooltip("value:Q", format=".3f")],
    )
    mean = whole.mark_tick(thickness=3, size=18).encode(
        alt.X("mean(value):Q", title=None),
        tooltip=["merged:N", "part:N", alt.Tooltip("mean(value):Q", title="mean", format=".3f")],
    )
    menus = menu("measure", _MEASURES)
    return alt.layer(dots, mean).add_params(menus).properties(height=44 * len(found.merged))
