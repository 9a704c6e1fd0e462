"""Maps over layers and projections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import altair as alt

from .. import retention as kept, spectrum
from ..tables import Diagnosis
from .figure import ALL, Cell, Chart, chosen, data, layers, menu, places, projections

_STEP = 30  # pixels of a row
_READ = "A square is a module, or the mean of those in one place."


def sizes(found: Diagnosis) -> Iterator[Chart]:
    """How large and how uneven updates are, and where."""
    drawn = (
        ("norm", "Where updates are large", "Frobenius norm of the update. "),
        ("change", "How much of the base changes", "Norm over that of the base's weight. "),
        ("effective_rank", "How many directions count", "Effective rank of the update. "),
        ("head_to_tail", "Head and tail", "Largest over smallest singular value. "),
    )
    for measure, title, lead in drawn:
        rows = [(s.module, s.kind, s.update, getattr(s, measure)) for s in found.spectra]
        if any(value is not None for *_, value in rows):
            chart = _map(found, _averaged(found, rows), {"update": [ALL, *_updates(found)]}, ".3~g")
            name = "map-" + measure.replace("_", "-")
            yield Chart(name, "before", title, lead + _READ, chart, (spectrum,))


def coefficients(found: Diagnosis) -> Iterator[Chart]:
    """Where merges keep adapters."""
    rows = [(k.module, k.merged, k.adapter, k.coefficient) for k in found.kept]
    if any(value is not None for *_, value in rows):
        menus = {"merged": found.merged, "adapter": [ALL, *found.adapters]}
        chart = _map(found, _averaged(found, rows), menus, ".2f")
        lead = (
            "Coefficient of the adapter's update in the merged one: 1 is all of it, 1/T what a "
            "mean of T unlike adapters has. "
        )
        yield Chart("map-kept", "after", "What is kept, and where", lead + _READ, chart, (kept,))


def _updates(found: Diagnosis) -> list[str]:
    return [*found.adapters, *found.merged]


def _averaged(
    found: Diagnosis, rows: Sequence[tuple[str, str, str, float | None]]
) -> list[Sequence[Cell]]:
    """One row for each place in the map, from rows (module, word, name, value)."""
    where = places(found)
    cells: dict[tuple[str, ...], list[float]] = {}
    for module, word, name, value in rows:
        if value is not None:
            cells.setdefault((*where[module], word, name), []).append(value)
    return [(*key, sum(values) / len(values)) for key, values in cells.items()]


def _map(
    found: Diagnosis,
    rows: Sequence[Sequence[Cell]],
    menus: dict[str, Sequence[str]],
    form: str,
) -> alt.Chart:
    """A map of rows (projection, layer, word, name, value), with a menu for name, maybe word."""
    first, last = ("kind", "update") if "update" in menus else ("merged", "adapter")
    condition = chosen(last, ALL)
    if first in menus:
        condition += f" && {chosen(first)}"
    else:  # the mean is over adapters, and the merges can be looked at one by one
        condition = f"update === '{ALL}' ? datum.kind === 'adapter' : {chosen(last)}"
    value = alt.Color(
        "value:Q",
        scale=alt.Scale(range="heatmap", zero=first == "merged"),
        legend=alt.Legend(title=None, format=form),
    )
    places = [{str(row[i]) for row in rows} for i in (0, 1)]
    rows_, columns = (
        [x for x in order if x in there]
        for order, there in zip((projections(found), layers(found)), places, strict=True)
    )
    return (
        alt.Chart(data(["projection", "layer", first, last], ["value"], rows))
        .transform_filter(condition)
        .transform_aggregate(value="mean(value)", groupby=["projection", "layer"])
        .mark_rect()
        .encode(
            alt.X("layer:O", sort=columns, title="layer", axis=alt.Axis(labelAngle=0)),
            alt.Y("projection:N", sort=rows_, title=None),
            value,
            [
                alt.Tooltip("projection:N"),
                alt.Tooltip("layer:O"),
                alt.Tooltip("value:Q", format=form),
            ],
        )
        .properties(height=_STEP * len(rows_))
        .add_params(*(menu(name, options) for name, options in menus.items()))
    )
