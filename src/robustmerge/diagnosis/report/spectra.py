"""Singular values: of every update, and by layer as in the paper's figure 8."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import altair as alt

from .. import spectrum
from ..spectrum import Spectrum
from ..tables import Diagnosis
from .chart import (
    ALL_PROJECTIONS,
    NO_LAYER,
    Chart,
    inline_data,
    list_layers,
    list_projections,
    make_menu,
    map_positions,
    menu_filter,
)

_LAYERS = 9
"""Most layers that are drawn, evenly spaced: more colors would look alike."""
_RANKS = 24
"""Most singular values that are drawn, with evenly spaced logarithms of their ranks."""


def draw_spectra(diagnosis: Diagnosis) -> Iterator[Chart]:
    """Draw singular values of all updates, and by layer if the model has layers."""
    rows = [row for row in diagnosis.spectra if row.values]
    if not rows:
        return
    drawn = sorted({i for row in rows for i in _select_ranks(len(row.values))})
    yield Chart(
        "spectra",
        "before",
        "Singular value spectrum",
        "Singular values σᵢ over the update's norm, averaged over modules; merges are dashed. "
        "The steeper a line, the fewer directions matter. Click a name to highlight its line.",
        _by_update(diagnosis, rows, drawn),
        (spectrum,),
    )
    layers = _select_layers(diagnosis)
    if len(layers) > 1:
        yield Chart(
            "spectra-by-depth",
            "before",
            "Singular value spectrum by layer",
            "Singular values of an adapter or a merge, averaged over the modules of a layer "
            "(figure 8 of the paper).",
            _by_layer(diagnosis, rows, drawn, layers),
            (spectrum,),
        )


def _by_update(diagnosis: Diagnosis, rows: Sequence[Spectrum], drawn: Sequence[int]) -> alt.Chart:
    means: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows:
        for i in drawn:
            if i <= len(row.values) and row.norm:
                means[row.update, i].append(row.values[i - 1] / row.norm)
    names = [*diagnosis.adapters, *diagnosis.merged]
    cells = [(name, i, sum(x) / len(x)) for (name, i), x in means.items()]
    selected = alt.selection_point(name="selected", fields=["update"], bind="legend")
    return (
        alt.Chart(inline_data(["update"], ["index", "share"], cells))
        .mark_line(point=alt.OverlayMarkDef(size=22))
        .encode(
            _index(max(i for _, i, _ in cells)),
            alt.Y(
                "share:Q",
                scale=alt.Scale(type="log", nice=False),
                title="singular value / norm",
                axis=_ticks(),
            ),
            alt.Color("update:N", sort=names, title=None),
            alt.StrokeDash("merge:N", legend=None, scale=alt.Scale(range=[[1, 0], [5, 3]])),
            opacity=alt.when(selected).then(alt.value(1)).otherwise(alt.value(0.12)),
            tooltip=["update:N", "index:Q", alt.Tooltip("share:Q", format=".3~g")],
        )
        .transform_calculate(merge=f"indexof({list(diagnosis.merged)!r}, datum.update) >= 0")
        .add_params(selected)
        .properties(height=300)
    )


def _by_layer(
    diagnosis: Diagnosis, rows: Sequence[Spectrum], drawn: Sequence[int], layers: Sequence[str]
) -> alt.Chart:
    positions = map_positions(diagnosis)
    cells = [
        (row.update, *positions[row.module], i, row.values[i - 1])
        for row in rows
        if positions[row.module][1] in layers
        for i in drawn
        if i <= len(row.values)
    ]
    updates = [*diagnosis.adapters, *diagnosis.merged]
    return (
        alt.Chart(inline_data(["update", "projection", "layer"], ["index", "value"], cells))
        .transform_filter(
            f"{menu_filter('update')} && {menu_filter('projection', ALL_PROJECTIONS)}"
        )
        .transform_aggregate(value="mean(value)", groupby=["layer", "index"])
        .mark_line(point=alt.OverlayMarkDef(size=22))
        .encode(
            _index(max(i for *_, i, _ in cells)),
            alt.Y(
                "value:Q",
                scale=alt.Scale(type="log", nice=False),
                title="singular value",
                axis=_ticks(),
            ),
            alt.Color("layer:O", sort=list(layers), scale=alt.Scale(range="ramp"), title="layer"),
            tooltip=["layer:O", "index:Q", alt.Tooltip("value:Q", format=".3~g")],
        )
        .add_params(
            make_menu("update", updates),
            make_menu("projection", [ALL_PROJECTIONS, *list_projections(diagnosis)]),
        )
        .properties(height=300)
    )


def _index(most: int) -> alt.X:
    scale = alt.Scale(type="log" if most > 16 else "linear", nice=False, padding=12)
    return alt.X(
        "index:Q", scale=scale, title="rank in the spectrum", axis=alt.Axis(format="d", tickCount=6)
    )


def _ticks() -> alt.Axis:
    return alt.Axis(format=".2~g", tickCount=5)


def _select_ranks(length: int) -> set[int]:
    if length <= _RANKS:
        return set(range(1, length + 1))
    return {round(length ** (k / (_RANKS - 1))) for k in range(_RANKS)}


def _select_layers(diagnosis: Diagnosis) -> list[str]:
    layers = [x for x in list_layers(diagnosis) if x != NO_LAYER]
    if len(layers) <= _LAYERS:
        return layers
    return [layers[round(k * (len(layers) - 1) / (_LAYERS - 1))] for k in range(_LAYERS)]
