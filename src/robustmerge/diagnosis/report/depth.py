"""What a sum and a merge of factors would do, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt

from .. import contributions as total, cross_terms as apart, shared_directions as crowding, signs
from ..tables import Diagnosis
from .figure import Cell, Chart, data

_SHARES = {
    ("apart", "cosine"): "factors apart",
    ("total", "at_input_rank"): "left by a cut",
    ("signs", "opposed"): "sign conflict",
    ("crowding", "energy", "input"): "crowded inputs",
    ("crowding", "energy", "output"): "crowded outputs",
}


def depth(found: Diagnosis) -> Iterator[Chart]:
    """Several shares by layer, where the model has some."""
    cells: list[tuple[Cell, ...]] = []
    for (table, measure, *side), name in _SHARES.items():
        for row in found.pooled(table, by="layer"):
            tower, _, layer = row.group.rpartition(" ")
            if not tower or measure not in row.figures or side != _side(row.words.get("side")):
                continue
            x = row[measure]
            cells.append((name, tower, int(layer), x.mean, x.low, x.high))
    if len({cell[2] for cell in cells}) < 2:
        return
    lead = (
        "Factors apart: cosine of the product of the factors' sums with the sum of updates; near "
        "1, factor-wise merging is the sum. Left by a cut: energy of the sum that the adapters' "
        "own rank keeps. Sign conflict: mass against the elected sign. Crowded: energy in "
        "directions that more adapters use than chance explains. Means over a layer's modules; "
        "bands hold 80% of them."
    )
    sources = (apart, total, signs, crowding)
    yield Chart("depth", "before", "By depth", lead, _chart(cells), sources, wide=True)


def _side(side: str | None) -> list[str]:
    return [side] if side else []


def _chart(cells: list[tuple[Cell, ...]]) -> alt.LayerChart:
    picked = alt.selection_point(name="picked", fields=["what"], bind="legend")
    names = list(_SHARES.values())
    whole = alt.Chart(data(["what", "tower"], ["layer", "mean", "low", "high"], cells)).encode(
        alt.X(
            "layer:Q",
            title="layer",
            scale=alt.Scale(nice=False),
            axis=alt.Axis(tickMinStep=1, format="d"),
        ),
        alt.Color("what:N", sort=names, title=None),
        detail="tower:N",
    )
    band = whole.mark_area().encode(
        alt.Y("low:Q", title=None, axis=alt.Axis(format=".0%")),
        alt.Y2("high"),
        opacity=alt.when(picked).then(alt.value(0.13)).otherwise(alt.value(0)),
    )
    line = whole.mark_line(point=alt.OverlayMarkDef(size=26)).encode(
        alt.Y("mean:Q", title=None),
        opacity=alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.12)),
        tooltip=[
            "what:N",
            "tower:N",
            "layer:Q",
            *(alt.Tooltip(f"{x}:Q", format=".3f") for x in ("mean", "low", "high")),
        ],
    )
    return alt.layer(band, line.add_params(picked)).properties(height=300)
