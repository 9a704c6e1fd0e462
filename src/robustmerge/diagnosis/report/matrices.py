"""Adapter by adapter."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

import altair as alt

from .. import pairs
from ..pooled import Pooled
from ..tables import Diagnosis
from .figure import EVERY, Cell, Chart, chosen, data, menu, short

NUMBERS = 10
"""Most adapters whose matrix has its numbers written in."""
CONTRAST = "luminance(scale('color', datum.value)) > 0.35 ? '#1b1b1b' : '#ffffff'"
"""Color of a number on its square."""


def matrices(found: Diagnosis) -> Iterator[Chart]:
    """How every two adapters go together."""
    rows = [*found.pooled("pairs"), *found.pooled("pairs", by="projection")]
    whole = [r for r in rows if r.group == "model"]
    if not whole or "cosine" not in {name for r in whole for name in r.figures}:
        return
    most = max(0.1, *(abs(r["cosine"].weighted) for r in rows if "cosine" in r.figures))
    yield _figure(
        found,
        rows,
        "cosine",
        "Who pulls whose way",
        "Cosine of the updates. Near 0 they do not meet, and a sum holds both; below they fight.",
        alt.Scale(range="diverging", domain=[-most, most], domainMid=0),
    )
    for side, title in (("inputs", "Who listens to the same"), ("outputs", "Who speaks the same")):
        chance = fmean(r[f"{side}_chance"].mean for r in whole if f"{side}_chance" in r.figures)
        lead = (
            f"Likeness of the {side[:-1]} spaces of the updates, 1 where they are one. Unrelated "
            f"spaces of these ranks have {chance:.2g}."
        )
        reached = [r[side].weighted for r in rows if side in r.figures]
        scale = alt.Scale(range="heatmap", domain=[0, max(2 * chance, *reached)])
        yield _figure(found, rows, side, title, lead, scale, chance=f"{side}_chance")
    yield _figure(
        found,
        rows,
        "weighted_sign_conflict",
        "Sign conflict",
        "Share of what can cancel whose signs disagree; independent signs give 0.5.",
        alt.Scale(range="diverging", domain=[0, 1], domainMid=0.5),
    )


def _figure(
    found: Diagnosis,
    rows: list[Pooled],
    measure: str,
    title: str,
    lead: str,
    scale: alt.Scale,
    chance: str | None = None,
) -> Chart:
    cells: list[tuple[Cell, ...]] = []
    for row in (r for r in rows if measure in r.figures):
        group = EVERY if row.group == "model" else short(found, row.group)
        by_chance = row[chance].mean if chance else None
        one, other = row.words["first"], row.words["second"]
        for s, t in ((one, other), (other, one)):
            cells.append((s, t, group, row[measure].weighted, by_chance))
    chart = _matrix(found, cells, measure, scale, chance=chance is not None)
    name = "matrix-" + measure.replace("_", "-")
    return Chart(name, "before", title, lead, chart, (pairs,))


def _matrix(
    found: Diagnosis, cells: list[tuple[Cell, ...]], measure: str, scale: alt.Scale, *, chance: bool
) -> alt.LayerChart:
    groups = list(dict.fromkeys(str(c[2]) for c in cells))
    names = list(found.adapters)
    form = ".2g" if chance else ".2f"
    told = measure.replace("_", " ")
    tooltip = ["one:N", "other:N", alt.Tooltip("value:Q", title=told, format=".3f")]
    if chance:
        tooltip.append(alt.Tooltip("chance:Q", title="by chance", format=".3f"))
    whole = alt.Chart(data(["one", "other", "projection"], ["value", "chance"], cells)).encode(
        alt.X("one:N", sort=names, title=None, axis=alt.Axis(labelAngle=-40)),
        alt.Y("other:N", sort=names, title=None),
        tooltip=tooltip,
    )
    color = alt.Color(
        "value:Q", scale=scale, legend=alt.Legend(title=None, format=".2~g", tickCount=5)
    )
    layered = [whole.mark_rect().encode(color)]
    if len(names) <= NUMBERS:
        layered.append(
            whole.mark_text(fontSize=11, fill=alt.expr(CONTRAST)).encode(
                text=alt.Text("value:Q", format=form)
            )
        )
    return (
        alt.layer(*layered)
        .transform_filter(chosen("projection"))
        .properties(height=len(names) * (34 if len(names) <= NUMBERS else 18))
        .add_params(menu("projection", groups))
    )
