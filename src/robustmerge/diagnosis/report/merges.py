"""Method against method."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt

from .. import retention as kept, unattributed as noise
from ..tables import Diagnosis
from .figure import Cell, Chart, data
from .matrices import CONTRAST, NUMBERS

_STEP = 34  # pixels of a row
_PARTS = {
    "tasks": "adapters",
    "recombined": "recombined",
    "cross": "cross",
    "outside": "outside",
}


def merges(found: Diagnosis) -> Iterator[Chart]:
    """Whose each merge is, and what it has of whom."""
    whose: list[tuple[Cell, ...]] = [
        (row.words["merged"], name, order, row[part].weighted)
        for row in found.pooled("noise")
        for order, (part, name) in enumerate(_PARTS.items())
        if part in row.figures
    ]
    if whose:
        lead = (
            "Shares of the merged update's energy: combinations of the adapters, their directions "
            "recombined, one's outputs on another's inputs (cross), and outside of all of them."
        )
        yield Chart("whose", "after", "Whose a merge is", lead, _bars(found, whose), (noise,))
    held: list[tuple[Cell, ...]] = [
        (p.words["merged"], p.words["adapter"], p["coefficient"].weighted, p["cosine"].weighted)
        for p in found.pooled("kept")
        if "coefficient" in p.figures and "cosine" in p.figures
    ]
    if held:
        lead = (
            "Coefficient of each adapter's update in each merge. An uneven row has favorites; a "
            "pale one may be too small, a strong one too large."
        )
        yield Chart("kept", "after", "Who is in which merge", lead, _kept(found, held), (kept,))


def _bars(found: Diagnosis, cells: list[tuple[Cell, ...]]) -> alt.Chart:
    return (
        alt.Chart(data(["merged", "part"], ["order", "share"], cells))
        .mark_bar()
        .encode(
            alt.X(
                "share:Q",
                title=None,
                axis=alt.Axis(format=".0%", tickCount=5),
                scale=alt.Scale(domain=[0, 1]),
                stack="zero",
            ),
            alt.Y("merged:N", sort=list(found.merged), title=None),
            alt.Color("part:N", sort=list(_PARTS.values()), title=None),
            order="order:Q",
            tooltip=["merged:N", "part:N", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(height=_STEP * len(found.merged))
    )


def _kept(found: Diagnosis, cells: list[tuple[Cell, ...]]) -> alt.LayerChart:
    whole = alt.Chart(data(["merged", "adapter"], ["value", "cosine"], cells)).encode(
        alt.X("adapter:N", sort=list(found.adapters), title=None, axis=alt.Axis(labelAngle=-40)),
        alt.Y("merged:N", sort=list(found.merged), title=None),
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
    layered = [whole.mark_rect().encode(color)]
    if len(found.adapters) <= NUMBERS:
        text = alt.Text("value:Q", format=".2f")
        layered.append(whole.mark_text(fontSize=11, fill=alt.expr(CONTRAST)).encode(text=text))
    return alt.layer(*layered).properties(height=_STEP * len(found.merged))
