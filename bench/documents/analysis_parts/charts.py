"""Charts of docs/analysis.md, in the style of those of the laptop benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from minibench_parts.charts import COLORS, GRAY, STYLE

from .scale_rules import TOO_LARGE, TOO_SMALL

NAMED = ("task-arithmetic", "ties", "robustmerge", "tsv-m", "dare", "ace", "act")
"""Merges with their names next to their points."""
BELOW = ("task-arithmetic", "tsv-m")
"""Those whose names are under their points."""


def draw(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw all charts."""
    folder.mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[Mapping[str, Any]], Figure]] = {
        "prediction": prediction,
        "size": size,
    }
    drawn = []
    for name, make in makers.items():
        with pyplot.rc_context(STYLE):
            figure = make(results)
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=110, metadata={"Software": None})
            pyplot.close(figure)
            drawn.append(path)
    return drawn


def prediction(results: Mapping[str, Any]) -> Figure:
    """Draw seen averages of tuned merges against two figures of their weights."""
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.4), sharey=True)
    labels = {
        "answer": "answer to the largest directions",
        "similarity": "similarity of the rest by index (figure 7)",
    }
    for axis, (key, label) in zip(axes, labels.items(), strict=True):
        most = max(round(p["rank"]) for p in results["points"])
        for cut in (True, False):
            some = [p for p in results["points"] if (round(p["rank"]) < most) == cut]
            _scatter(axis, [(p["merge"], p[key], p["seen"]) for p in some], hollow=cut)
        axis.set_xlabel(label)
    axes[0].set_ylabel("seen average, tuned")
    figure.set_layout_engine("constrained")
    return figure


def size(results: Mapping[str, Any]) -> Figure:
    """Draw the best factor on a merge against its size."""
    figure, axis = pyplot.subplots(figsize=(7, 4.4))
    _scatter(axis, [(p["merge"], p["size"], p["factor"]) for p in results["sizes"]])
    axis.set_xscale("log", base=2)
    axis.set_yscale("log", base=2)
    for which in (axis.xaxis, axis.yaxis):
        which.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        which.set_minor_locator(NullLocator())
    for bound, word in ((TOO_SMALL, "too small"), (TOO_LARGE, "too large")):
        axis.axvline(bound, color=GRAY, linestyle="--", linewidth=1)
        axis.annotate(
            word,
            (bound, 0.02),
            (-4 if bound == TOO_SMALL else 4, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if bound == TOO_SMALL else "left",
            color=GRAY,
        )
    axis.axhline(1, color=GRAY, linewidth=1)
    axis.set_xlabel("mean coefficient times √T at its own scale")
    axis.set_ylabel("factor that is best on validation items")
    figure.set_layout_engine("constrained")
    return figure


def _scatter(axis: Axes, points: list[tuple[str, float, float]], *, hollow: bool = False) -> None:
    others = [p for p in points if p[0] not in NAMED]
    face = "white" if hollow else "#a0a0a0"
    axis.scatter(
        [p[1] for p in others], [p[2] for p in others], s=20, facecolors=face, edgecolors="#a0a0a0"
    )
    for name, x, y in (p for p in points if p[0] in NAMED):
        color = COLORS[NAMED.index(name)]
        axis.scatter(x, y, s=40, facecolors="white" if hollow else color, edgecolors=color)
        axis.annotate(
            name,
            (x, y),
            (5, -13 if name in BELOW else 4),
            textcoords="offset points",
            fontsize=9,
            color=color,
        )
