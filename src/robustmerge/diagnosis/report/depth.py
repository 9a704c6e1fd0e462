"""Energy and conflict of the exact sum and of factor-wise merging, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt

from .. import contributions, cross_terms, shared_directions, signs
from ..tables import Diagnosis
from .chart import Cell, Chart, inline_data

_SHARES = {
    ("apart", "cosine", ""): "factor-wise cosine",
    ("total", "at_input_rank", ""): "energy at input rank",
    ("signs", "opposed", ""): "sign conflict",
    ("crowding", "energy", "input"): "shared inputs",
    ("crowding", "energy", "output"): "shared outputs",
}
"""Table, column and side (of the table of shared directions) of every line, and its name."""
_BAND = {"mean": "mean", "low": "10% quantile", "high": "90% quantile"}


def draw_depth(diagnosis: Diagnosis) -> Iterator[Chart]:
    """Draw several shares by layer, if the model has layers."""
    cells: list[tuple[Cell, ...]] = []
    for (table, measure, side), name in _SHARES.items():
        for row in diagnosis.pooled(table, by="layer"):
            tower, _, layer = row.group.rpartition(" ")
            if not tower or measure not in row.figures or side != row.words.get("side", ""):
                continue
            estimate = row[measure]
            cells.append((name, tower, int(layer), estimate.mean, estimate.low, estimate.high))
    if len({cell[2] for cell in cells}) < 2:
        return
    lead = (
        "Factor-wise cosine: of the product of summed factors with the exact sum; near 1, "
        "factor-wise merging works. Energy at input rank: share of the exact sum's energy. Sign "
        "conflict: share of the weight mass that disagrees with the majority sign. Shared inputs "
        "and outputs: energy in directions that more adapters use than chance explains. Lines are "
        "means over the modules of a layer; bands contain 80% of them."
    )
    sources = (cross_terms, contributions, signs, shared_directions)
    yield Chart(
        "depth",
        "before",
        "Shared directions, sign conflict and sums by layer",
        lead,
        _chart(cells),
        sources,
        wide=True,
    )


def _chart(cells: list[tuple[Cell, ...]]) -> alt.LayerChart:
    selected = alt.selection_point(name="picked", fields=["quantity"], bind="legend")
    names = list(_SHARES.values())
    base = alt.Chart(
        inline_data(["quantity", "tower"], ["layer", "mean", "low", "high"], cells)
    ).encode(
        alt.X(
            "layer:Q",
            title="layer",
            scale=alt.Scale(nice=False),
            axis=alt.Axis(tickMinStep=1, format="d"),
        ),
        alt.Color("quantity:N", sort=names, title=None),
        detail="tower:N",
    )
    band = base.mark_area().encode(
        alt.Y("low:Q", title=None, axis=alt.Axis(format=".0%")),
        alt.Y2("high"),
        opacity=alt.when(selected).then(alt.value(0.13)).otherwise(alt.value(0)),
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=26)).encode(
        alt.Y("mean:Q", title=None),
        opacity=alt.when(selected).then(alt.value(1)).otherwise(alt.value(0.12)),
        tooltip=[
            "quantity:N",
            "tower:N",
            "layer:Q",
            *(alt.Tooltip(f"{x}:Q", title=title, format=".3f") for x, title in _BAND.items()),
        ],
    )
    return alt.layer(band, line.add_params(selected)).properties(height=300)
