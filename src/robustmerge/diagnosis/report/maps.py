"""Maps over layers (columns) and projections (rows)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import altair as alt

from .. import retention, spectrum
from ..tables import Diagnosis
from .chart import (
    ALL_ADAPTERS,
    Cell,
    Chart,
    inline_data,
    list_layers,
    list_projections,
    make_menu,
    map_positions,
    menu_filter,
)

_STEP = 30  # pixels of a row
_READ = "A square is a module, or the mean of the modules in this position."


def draw_update_maps(diagnosis: Diagnosis) -> Iterator[Chart]:
    """Draw size and shape of the updates by module."""
    drawn = (
        ("norm", "Update norm", "Frobenius norm of the update. "),
        ("change", "Relative change of the base", "Norm over the norm of the base's weight. "),
        ("effective_rank", "Effective rank", "Number of directions that matter in the update. "),
        ("head_to_tail", "Head-to-tail ratio", "Largest singular value over the smallest. "),
    )
    for measure, title, lead in drawn:
        rows = [(s.module, s.kind, s.update, getattr(s, measure)) for s in diagnosis.spectra]
        if any(value is not None for *_, value in rows):
            chart = _map(
                diagnosis,
                _average(diagnosis, rows),
                {"update": [ALL_ADAPTERS, *_updates(diagnosis)]},
                ".3~g",
            )
            name = "map-" + measure.replace("_", "-")
            yield Chart(name, "before", title, lead + _READ, chart, (spectrum,))


def draw_retention_map(diagnosis: Diagnosis) -> Iterator[Chart]:
    """Draw how much of the adapters merges retain by module."""
    rows = [(k.module, k.merged, k.adapter, k.coefficient) for k in diagnosis.kept]
    if any(value is not None for *_, value in rows):
        menus = {"merged": diagnosis.merged, "adapter": [ALL_ADAPTERS, *diagnosis.adapters]}
        chart = _map(diagnosis, _average(diagnosis, rows), menus, ".2f")
        lead = (
            "Coefficient of the adapter's update in the merged one: 1 in a sum of orthogonal "
            "updates, 1/T in the mean of T. "
        )
        yield Chart(
            "map-kept", "after", "Retained coefficient by module", lead + _READ, chart, (retention,)
        )


def _updates(diagnosis: Diagnosis) -> list[str]:
    return [*diagnosis.adapters, *diagnosis.merged]


def _average(
    diagnosis: Diagnosis, rows: Sequence[tuple[str, str, str, float | None]]
) -> list[Sequence[Cell]]:
    """Average rows (module, word, name, value) over the modules in one position of the map."""
    positions = map_positions(diagnosis)
    cells: dict[tuple[str, ...], list[float]] = {}
    for module, word, name, value in rows:
        if value is not None:
            cells.setdefault((*positions[module], word, name), []).append(value)
    return [(*key, sum(values) / len(values)) for key, values in cells.items()]


def _map(
    diagnosis: Diagnosis, rows: Sequence[Sequence[Cell]], menus: dict[str, Sequence[str]], form: str
) -> alt.Chart:
    """Return a map of rows (projection, layer, word, name, value), with a menu for each name."""
    word, name = ("kind", "update") if "update" in menus else ("merged", "adapter")
    drawn = [{row[i] for row in rows} for i in (0, 1)]
    projections = [x for x in list_projections(diagnosis) if x in drawn[0]]
    layers = [x for x in list_layers(diagnosis) if x in drawn[1]]
    color = alt.Color(
        "value:Q",
        scale=alt.Scale(range="heatmap", zero=word == "merged"),
        legend=alt.Legend(title=None, format=form, tickCount=4),
    )
    tooltip = [alt.Tooltip("projection:N"), alt.Tooltip("layer:O")]
    return (
        alt.Chart(inline_data(["projection", "layer", word, name], ["value"], rows))
        .transform_filter(_condition(word, name))
        .transform_aggregate(value="mean(value)", groupby=["projection", "layer"])
        .mark_rect()
        .encode(
            alt.X("layer:O", sort=layers, title="layer", axis=alt.Axis(labelAngle=0)),
            alt.Y("projection:N", sort=projections, title=None),
            color,
            [*tooltip, alt.Tooltip("value:Q", format=form)],
        )
        .properties(height=_STEP * len(projections))
        .add_params(*(make_menu(label, options) for label, options in menus.items()))
    )


def _condition(word: str, name: str) -> str:
    """Return which rows are averaged, given the choices in the menus."""
    if word == "merged":
        return f"{menu_filter(name, ALL_ADAPTERS)} && {menu_filter(word)}"
    # The mean is over adapters only; merges can be chosen one by one.
    return f"{name} === '{ALL_ADAPTERS}' ? datum.{word} === 'adapter' : {menu_filter(name)}"
