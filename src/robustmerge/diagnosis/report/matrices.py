"""Matrices of adapters: similarity and conflict of every two."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

import altair as alt

from .. import pairs
from ..pooled import Pooled
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

NUMBERS = 10
"""Most adapters whose matrix contains its numbers as text."""
CONTRAST = "luminance(scale('color', datum.value)) > 0.35 ? '#1b1b1b' : '#ffffff'"
"""Color of a number on its square: dark on light squares (luminance 0 to 1), white on dark ones."""


def draw_matrices(diagnosis: Diagnosis) -> Iterator[Chart]:
    """Draw similarity and conflict of every two adapters."""
    rows = [*diagnosis.pooled("pairs"), *diagnosis.pooled("pairs", by="projection")]
    whole = [r for r in rows if r.group == "model"]
    if not whole or "cosine" not in {name for r in whole for name in r.figures}:
        return
    # At least ±0.1, or chance would fill the whole color scale.
    most = max(0.1, *(abs(r["cosine"].weighted) for r in rows if "cosine" in r.figures))
    yield _figure(
        diagnosis,
        rows,
        "cosine",
        "Cosine similarity of updates",
        "Near 0 two updates are orthogonal, and a sum contains both; below 0 they oppose each "
        "other.",
        alt.Scale(range="diverging", domain=[-most, most], domainMid=0),
    )
    for side, title in (
        ("inputs", "Input subspace overlap"),
        ("outputs", "Output subspace overlap"),
    ):
        chance = fmean(r[f"{side}_chance"].mean for r in whole if f"{side}_chance" in r.figures)
        lead = (
            f"Mean squared cosine of the principal angles of the {side[:-1]} subspaces: 1 if they "
            f"are equal, {chance:.2g} for unrelated subspaces of these ranks."
        )
        values = [r[side].weighted for r in rows if side in r.figures]
        scale = alt.Scale(range="heatmap", domain=[0, max(2 * chance, *values)])
        yield _figure(diagnosis, rows, side, title, lead, scale, chance=f"{side}_chance")
    yield _figure(
        diagnosis,
        rows,
        "weighted_sign_conflict",
        "Sign conflict",
        "Share of the magnitude that can cancel whose signs disagree; 0.5 for independent signs.",
        alt.Scale(range="diverging", domain=[0, 1], domainMid=0.5),
    )


def _figure(
    diagnosis: Diagnosis,
    rows: list[Pooled],
    measure: str,
    title: str,
    lead: str,
    scale: alt.Scale,
    chance: str | None = None,
) -> Chart:
    cells: list[tuple[Cell, ...]] = []
    for row in (r for r in rows if measure in r.figures):
        group = ALL_PROJECTIONS if row.group == "model" else short_projection(diagnosis, row.group)
        by_chance = row[chance].mean if chance else None
        first, second = row.words["first"], row.words["second"]
        for s, t in ((first, second), (second, first)):  # both triangles of the matrix
            cells.append((s, t, group, row[measure].weighted, by_chance))
    chart = _matrix(diagnosis, cells, measure, scale, chance=chance is not None)
    name = "matrix-" + measure.replace("_", "-")
    return Chart(name, "before", title, lead, chart, (pairs,))


def _matrix(
    diagnosis: Diagnosis,
    cells: list[tuple[Cell, ...]],
    measure: str,
    scale: alt.Scale,
    *,
    chance: bool,
) -> alt.LayerChart:
    groups = list(dict.fromkeys(str(c[2]) for c in cells))
    names = list(diagnosis.adapters)
    form = ".2g" if chance else ".2f"
    title = measure.replace("_", " ")
    tooltip = ["first:N", "second:N", alt.Tooltip("value:Q", title=title, format=".3f")]
    if chance:
        tooltip.append(alt.Tooltip("chance:Q", title="by chance", format=".3f"))
    base = alt.Chart(
        inline_data(["first", "second", "projection"], ["value", "chance"], cells)
    ).encode(
        alt.X("first:N", sort=names, title=None, axis=alt.Axis(labelAngle=-40)),
        alt.Y("second:N", sort=names, title=None),
        tooltip=tooltip,
    )
    color = alt.Color(
        "value:Q", scale=scale, legend=alt.Legend(title=None, format=".2~g", tickCount=5)
    )
    layered = [base.mark_rect().encode(color)]
    if len(names) <= NUMBERS:
        layered.append(
            base.mark_text(fontSize=11, fill=alt.expr(CONTRAST)).encode(
                text=alt.Text("value:Q", format=form)
            )
        )
    return (
        alt.layer(*layered)
        .transform_filter(menu_filter("projection"))
        .properties(height=len(names) * (34 if len(names) <= NUMBERS else 18))
        .add_params(make_menu("projection", groups))
    )
