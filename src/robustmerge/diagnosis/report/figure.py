"""A figure: a chart, how to read it, and where its definitions stand."""

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
ALL = "all adapters"
EVERY = "all projections"
_DIGITS = 4  # of a number in a figure's data


@dataclass(frozen=True)
class Chart:
    """One picture of the report.

    Attributes:
        name: Of its file, and its anchor in the page.
        part: Whether it is of adapters before a merge, or of merges.
        title: Its heading.
        lead: How to read it.
        chart: What is drawn; its width is left open.
        sources: The modules whose documentation defines what is drawn.
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
        """The chart in Vega-Lite, checked against its schema.

        Args:
            width: In pixels, or that of what holds it in a page.
        """
        found: dict[str, Any] = self.chart.properties(width=width).to_dict()
        # Of the theme in use where this runs; a report has its own looks.
        found.pop("config", None)
        return {**found, "autosize": {"type": "fit-x", "contains": "padding"}}


def data(words: Sequence[str], numbers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> alt.Data:
    """Rows within a chart, as CSV: a third of the size of records.

    Args:
        words: Names of the first columns, which hold text.
        numbers: Names of the others; None is a gap.
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


def menu(name: str, options: Sequence[str] | Mapping[str, str], label: str = "") -> alt.Parameter:
    """A menu above a chart, which sets the parameter of this name.

    Args:
        name: Of the parameter.
        options: What can be chosen, the first at the start; a mapping also says how it is shown.
        label: What stands before the menu.
    """
    shown = list(options.values()) if isinstance(options, Mapping) else list(options)
    bind = alt.binding_select(options=list(options), labels=shown, name=label or name)
    return alt.param(name=name, value=next(iter(options)), bind=bind)


def chosen(field: str, every: str | None = None) -> str:
    """The condition that a row is of what the menu named like its column says.

    Args:
        field: The column, and the menu.
        every: The choice that takes every row.
    """
    same = f"datum.{field} === {field}"
    return same if every is None else f"({field} === '{every}' || {same})"


def places(found: Diagnosis) -> dict[str, tuple[str, str]]:
    """For every module its row and column in a map: projection, and layer.

    Where a model has several towers with adapted modules the row names them.
    """
    towers = {m.tower for m in found.modules}
    return {
        m.module: (
            m.projection if len(towers) == 1 else f"{m.tower} {m.projection}",
            "–" if m.layer is None else str(m.layer),
        )
        for m in found.modules
    }


def projections(found: Diagnosis) -> list[str]:
    """The rows of maps, in the model's order."""
    return list(dict.fromkeys(row for row, _ in places(found).values()))


def layers(found: Diagnosis) -> list[str]:
    """The columns of maps; what is in no layer comes last."""
    found_ = {column for _, column in places(found).values()}
    return sorted(found_, key=lambda x: (x == "–", int(x) if x != "–" else 0))


def short(found: Diagnosis, group: str) -> str:
    """A projection's name in a menu, from the name its group has in pooled tables."""
    towers = {m.tower for m in found.modules}
    return group.partition(" ")[2] if len(towers) == 1 else group
