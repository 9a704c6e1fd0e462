"""A figure of the report: a chart, how to read it, and the modules that define its quantities."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import altair as alt

from ..tables import Diagnosis

Part = Literal["before", "after"]
Cell = str | int | float | None
ALL_ADAPTERS = "all adapters"
ALL_PROJECTIONS = "all projections"
NO_LAYER = "–"
"""Column of a map for modules outside of layers."""
_DIGITS = 4  # of a number in a chart's data; tooltips show three


@dataclass(frozen=True)
class Chart:
    """One figure of the report.

    Attributes:
        name: Name of its file, and its anchor in the page.
        part: Whether it shows adapters before a merge, or merges.
        title: The quantity it shows.
        lead: How to read it.
        chart: The chart, without a width.
        sources: The modules whose documentation defines the quantities.
        wide: Whether it takes the page's whole width.
    """

    name: str
    part: Part
    title: str
    lead: str
    chart: alt.Chart | alt.LayerChart
    sources: tuple[ModuleType, ...]
    wide: bool = False

    def spec(self, width: int | Literal["container"] = "container") -> dict[str, Any]:
        """Return the chart in Vega-Lite, checked against its schema.

        Args:
            width: In pixels, or that of its container in a page.
        """
        spec: dict[str, Any] = self.chart.properties(width=width).to_dict()
        # Altair adds the theme that is active in this process; the report has its own style.
        spec.pop("config", None)
        return {**spec, "autosize": {"type": "fit-x", "contains": "padding"}}


def inline_data(
    words: Sequence[str], numbers: Sequence[str], rows: Sequence[Sequence[Cell]]
) -> alt.Data:
    """Return rows as data within a chart, as CSV: a third of the size of records.

    Args:
        words: Names of the first columns, which contain text.
        numbers: Names of the other columns; None is a gap.
        rows: One cell for each column.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*words, *numbers])
    for row in rows:
        writer.writerow([f"{x:.{_DIGITS}g}" if isinstance(x, float) else x for x in row])
    parse = {**dict.fromkeys(words, "string"), **dict.fromkeys(numbers, "number")}
    return alt.InlineData(
        values=text.getvalue(), format=alt.CsvDataFormat.from_dict({"type": "csv", "parse": parse})
    )


def make_menu(name: str, options: Sequence[str] | Mapping[str, str]) -> alt.Parameter:
    """Return a menu above a chart, which sets the parameter of this name.

    Args:
        name: Name of the parameter, and the label of the menu.
        options: The choices, the first of them preselected; a mapping also has their labels.
    """
    labels = list(options.values()) if isinstance(options, Mapping) else list(options)
    bind = alt.binding_select(options=list(options), labels=labels, name=name)
    return alt.param(name=name, value=next(iter(options)), bind=bind)


def menu_filter(field: str, all_choice: str | None = None) -> str:
    """Return the condition that a row has the value chosen in the menu of the same name.

    Args:
        field: Name of the column and of the menu.
        all_choice: The choice that selects every row.
    """
    equal = f"datum.{field} === {field}"
    return equal if all_choice is None else f"({field} === '{all_choice}' || {equal})"


def map_positions(diagnosis: Diagnosis) -> dict[str, tuple[str, str]]:
    """Return the row (projection) and column (layer) of every module in a map.

    The row names the tower if several towers of the model have adapted modules.
    """
    towers = {m.tower for m in diagnosis.modules}
    return {
        m.module: (
            m.projection if len(towers) == 1 else f"{m.tower} {m.projection}",
            NO_LAYER if m.layer is None else str(m.layer),
        )
        for m in diagnosis.modules
    }


def list_projections(diagnosis: Diagnosis) -> list[str]:
    """Return the rows of maps, in the model's order."""
    return list(dict.fromkeys(row for row, _ in map_positions(diagnosis).values()))


def list_layers(diagnosis: Diagnosis) -> list[str]:
    """Return the columns of maps in order, modules outside of layers last."""
    layers = {column for _, column in map_positions(diagnosis).values()}
    return sorted(layers, key=lambda x: (x == NO_LAYER, int(x) if x != NO_LAYER else 0))


def short_projection(diagnosis: Diagnosis, group: str) -> str:
    """Return a projection's name in a menu, from the name of its group in pooled tables."""
    towers = {m.tower for m in diagnosis.modules}
    return group.partition(" ")[2] if len(towers) == 1 else group
