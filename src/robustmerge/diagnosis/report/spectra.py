"""Singular values: of every update, and by depth as in the paper's figure 8."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import altair as alt

from .. import spectrum
from ..spectrum import Spectrum
from ..tables import Diagnosis
from .figure import EVERY, Chart, chosen, data, layers, menu, places, projections

_DEPTHS = 9
"""Most layers that are drawn, evenly apart."""
_PLACES = 24
"""Most places in a spectrum that are drawn, evenly apart in their logarithm."""


def spectra(found: Diagnosis) -> Iterator[Chart]:
    """Singular values of all updates; by depth where the model has layers."""
    rows = [row for row in found.spectra if row.values]
    if not rows:
        return
    drawn = sorted({i for row in rows for i in _drawn(len(row.values))})
    yield Chart(
        "spectra",
        "before",
        "Head and tail of every update",
        "Singular values σᵢ as a share of the update's norm, averaged over modules; merges are "
        "dashed. A steep line has few directions that count. Click a name to bring its line out.",
        _by_update(found, rows, drawn),
        (spectrum,),
    )
    depths = _depths(found)
    if len(depths) > 1:
        yield Chart(
            "spectra-by-depth",
            "before",
            "Spectra by depth",
            "Singular values by layer, averaged over the modules of the projection (figure 8 of "
            "the paper). Choose an adapter, or a merge to see what became of them.",
            _by_depth(found, rows, drawn, depths),
            (spectrum,),
        )


def _by_update(found: Diagnosis, rows: Sequence[Spectrum], drawn: Sequence[int]) -> alt.Chart:
    means: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows:
        for i in drawn:
            if i <= len(row.values) and row.norm:
                means[row.update, i].append(row.values[i - 1] / row.norm)
    names = [*found.adapters, *found.merged]
    cells = [(name, i, sum(x) / len(x)) for (name, i), x in means.items()]
    picked = alt.selection_point(name="picked", fields=["update"], bind="legend")
    return (
        alt.Chart(data(["update"], ["index", "share"], cells))
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
            opacity=alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.12)),
            tooltip=["update:N", "index:Q", alt.Tooltip("share:Q", format=".3~g")],
        )
        .transform_calculate(merge=f"indexof({list(found.merged)!r}, datum.update) >= 0")
        .add_params(picked)
        .properties(height=300)
    )


def _by_depth(
    found: Diagnosis, rows: Sequence[Spectrum], drawn: Sequence[int], depths: Sequence[str]
) -> alt.Chart:
    where = places(found)
    cells = [
        (row.update, *where[row.module], i, row.values[i - 1])
        for row in rows
        if where[row.module][1] in depths
        for i in drawn
        if i <= len(row.values)
    ]
    updates = [*found.adapters, *found.merged]
    return (
        alt.Chart(data(["update", "projection", "layer"], ["index", "value"], cells))
        .transform_filter(f"{chosen('update')} && {chosen('projection', EVERY)}")
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
            alt.Color("layer:O", sort=list(depths), scale=alt.Scale(range="ramp"), title="layer"),
            tooltip=["layer:O", "index:Q", alt.Tooltip("value:Q", format=".3~g")],
        )
        .add_params(menu("update", updates), menu("projection", [EVERY, *projections(found)]))
        .properties(height=300)
    )


def _index(most: int) -> alt.X:
    scale = alt.Scale(type="log" if most > 16 else "linear", nice=False, padding=12)
    return alt.X(
        "index:Q", scale=scale, title="direction i", axis=alt.Axis(format="d", tickCount=6)
    )


def _ticks() -> alt.Axis:
    return alt.Axis(format=".2~g", tickCount=5)


def _drawn(length: int) -> set[int]:
    if length <= _PLACES:
        return set(range(1, length + 1))
    return {round(length ** (k / (_PLACES - 1))) for k in range(_PLACES)}


def _depths(found: Diagnosis) -> list[str]:
    there = [x for x in layers(found) if x != "–"]
    if len(there) <= _DEPTHS:
        return there
    return [there[round(k * (len(there) - 1) / (_DEPTHS - 1))] for k in range(_DEPTHS)]
