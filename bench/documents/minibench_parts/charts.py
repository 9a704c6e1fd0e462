"""Charts of docs/minibench.md, from the raw results; the sheet of items from the world.

Colors are those of Okabe and Ito, which color-blind readers can distinguish; curves also differ by
marker and line. The ground is white, for light and dark pages alike.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from robustmerge_bench.mini.tasks import TASKS

from .tables import NOTABLE, WORDS, Data, fullest, section, titled

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX*h"
LINES = ("-", "--", "-.", (0, (6, 1)), (0, (3, 1, 1, 1, 1, 1)))  # dots are for zero-shot
GRAY = "#767676"
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def draw(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw all charts that there are results for, and remove the others."""
    folder.mkdir(parents=True, exist_ok=True)
    studies = {study["study"]: study for study in results["studies"] if study["points"]}
    views: Sequence[Data] = results["views"]
    makers: dict[str, Callable[[], Figure | None]] = {
        "items": items,
        "scatter": lambda: scatter(fullest(views)) if views else None,
        "scale": lambda: scale(fullest(views)) if views else None,
        "density": lambda: lines(studies.get("density"), ("seen", "unseen")),
        "number": lambda: lines(studies.get("number"), ("kept", "unseen")),
        "rank": lambda: lines(studies.get("rank"), ("seen", "unseen")),
    }
    drawn = []
    for name, make in makers.items():
        path = folder / f"{name}.png"
        with pyplot.rc_context(STYLE):
            if figure := make():
                # Without the version of the library, so that the same chart is the same file.
                figure.savefig(path, dpi=110, metadata={"Software": None})
                pyplot.close(figure)
                drawn.append(path)
            else:
                path.unlink(missing_ok=True)
    return drawn


def items() -> Figure:
    """Draw one test item of each task."""
    figure, axes = pyplot.subplots(3, 4, figsize=(11, 11.2))
    for axis, task in zip(axes.flat, TASKS.values(), strict=True):
        item = task.items("test", 1)[0]
        axis.imshow(item.image, interpolation="nearest")
        axis.set_axis_off()
        sort = "seen" if task.seen else "unseen"
        axis.set_title(f"{task.name}: {task.title} ({sort})", fontsize=10, fontweight="bold")
        text = _wrapped(item.prompt, 38) + "\n" + _wrapped(f"→ {item.answer}", 38)
        axis.text(0.5, -0.04, text, transform=axis.transAxes, ha="center", va="top", fontsize=9)
    figure.subplots_adjust(left=0.02, right=0.98, top=0.965, bottom=0.09, hspace=0.5, wspace=0.12)
    return figure


def _wrapped(text: str, width: int) -> str:
    text = re.sub(r" ([.,?])", r"\1", text)  # the model's words are one token each
    return "\n".join(line for part in text.splitlines() for line in textwrap.wrap(part, width))


def scatter(view: Data) -> Figure | None:
    """Draw unseen against seen averages, at the methods' own scale and tuned."""
    rankings = [s for scale in ("default", "sweep") if (s := section(view, scale, "input"))]
    if not rankings:
        return None
    figure, axes = pyplot.subplots(
        1, len(rankings), figsize=(5.4 * len(rankings), 5), sharex=True, sharey=True, squeeze=False
    )
    for axis, ranking in zip(axes.flat, rankings, strict=True):
        _points(axis, ranking)
        _marks(axis, view)
        axis.set_title(WORDS[ranking["scale"]] + _tuned(ranking["scale"]), fontsize=10)
        axis.set_xlabel("seen average")
    axes[0, 0].set_ylabel("unseen average")
    figure.suptitle(f"Merges at input rank; experts: {titled(view)}", fontsize=11)
    handles, labels = axes[0, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=9)
    figure.set_layout_engine("constrained")
    return figure


def _points(axis: Axes, ranking: Data) -> None:
    others = [row for row in ranking["rows"] if row["merge"] not in NOTABLE]
    axis.scatter(
        [row["seen"][0] for row in others],
        [row["unseen"][0] for row in others],
        s=16,
        color="#b0b0b0",
        label="other methods",
    )
    for i, name in enumerate(NOTABLE):
        for row in (row for row in ranking["rows"] if row["merge"] == name):
            axis.scatter(*_place(row), s=62, zorder=3, label=name, **_look(i))
    best = ranking["rows"][0]
    if best["merge"] not in NOTABLE:
        axis.annotate(best["merge"], _place(best), (-6, 6), textcoords="offset points", ha="right")


def _place(row: Data) -> tuple[float, float]:
    return row["seen"][0], row["unseen"][0]


def _look(i: int) -> dict[str, Any]:
    """Return color and marker; every second round of colors is hollow."""
    color = COLORS[i % len(COLORS)]
    return {
        "marker": MARKERS[i % len(MARKERS)],
        "edgecolors": color,
        "facecolors": "white" if i >= len(COLORS) else color,
    }


def _marks(axis: Axes, view: Data) -> None:
    """Zero-shot, joint training and the experts."""
    for name, key in (("zero-shot", "zero_shot"), ("joint", "joint")):
        if view[key] and view[key]["unseen"]:
            x, y = _place(view[key])
            axis.scatter(x, y, s=70, marker="+", color="black", zorder=4)
            axis.annotate(name, (x, y), (-7, -4), textcoords="offset points", ha="right")
    axis.axvline(view["experts"]["seen"][0], color=GRAY, linestyle=":", linewidth=1)
    axis.annotate(
        "own experts",
        (view["experts"]["seen"][0], 0.02),
        (-4, 0),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        rotation=90,
        ha="right",
        color=GRAY,
    )


def _tuned(scale: str) -> str:
    return " on validation data" if scale == "sweep" else ""


def scale(view: Data) -> Figure | None:
    """Draw validation scores by the factor on the merge, from sweeps of notable methods."""
    data = section(view, "sweep", "input")
    rows = [row for row in (data or {"rows": []})["rows"] if row["tried"]]
    wanted = [row for name in NOTABLE for row in rows if row["merge"] == name] or rows[:7]
    if not wanted:
        return None
    figure, axis = pyplot.subplots(figsize=(8, 4.6))
    for row in wanted:
        tried = sorted((float(factor), score) for factor, score in row["tried"].items())
        axis.plot(*zip(*tried, strict=True), label=row["merge"], **_stroke(row["merge"]))
    _zero_shot_line(axis, view["zero_shot"]["seen"][0], "zero-shot (test)")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.axvline(1, color=GRAY, linewidth=1)
    axis.set_xlabel("factor on the merge; 1 is the method's own scale")
    axis.set_ylabel("seen average, validation items")
    axis.set_title(f"Scale sweeps at input rank; experts: {titled(view)}", fontsize=11)
    figure.legend(loc="outside right center", fontsize=9)
    figure.set_layout_engine("constrained")
    return figure


def _stroke(name: str) -> dict[str, Any]:
    """Return the same style for a method in every chart."""
    i = NOTABLE.index(name) if name in NOTABLE else 0
    return {
        "color": COLORS[i % len(COLORS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": LINES[i % len(LINES)],
        "linewidth": 1.8,
        "markersize": 6,
    }


def _zero_shot_line(axis: Axes, value: float, label: str = "zero-shot") -> None:
    axis.axhline(value, color=GRAY, linestyle=":", linewidth=1.2, label=label)


LABELS = {"seen": "seen average", "unseen": "unseen average", "kept": "gain kept, %"}


def lines(study: Data | None, shown: Sequence[str]) -> Figure | None:
    """Draw a study's curves: a row of panels for each scale, a column for each quantity."""
    if not study:
        return None
    scales = list(dict.fromkeys(point["scale"] for point in study["points"]))
    shape = (len(scales), len(shown))
    figure, axes = pyplot.subplots(
        *shape, figsize=(4.6 * shape[1], 3.3 * shape[0]), sharex=True, sharey="col", squeeze=False
    )
    for row, at in zip(axes, scales, strict=True):
        for axis, what in zip(row, shown, strict=True):
            _curves(axis, [p for p in study["points"] if p["scale"] == at], what)
            axis.set_title(WORDS[at] + _tuned(at), fontsize=10)
            axis.set_ylabel(LABELS[what])
    for axis in axes[-1]:
        axis.set_xlabel(study["x_label"])
    if study["study"] == "density":
        axes[0, 0].set_xlim(0, 1.03)
    else:
        axes[0, 0].set_xticks(sorted({point["x"] for point in study["points"]}))
        axes[0, 0].xaxis.set_minor_locator(NullLocator())
    figure.suptitle(f"{study['title']}; experts: {titled(study)}", fontsize=11)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if "seen" not in shown:
        handles, labels = axes[0, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=9)
    figure.set_layout_engine("constrained")
    return figure


def _curves(axis: Axes, points: Sequence[Data], what: str) -> None:
    for name in dict.fromkeys(point["row"] for point in points):
        data = sorted((p["x"], p[what]) for p in points if p["row"] == name and p[what])
        if not data:
            continue
        xs = [x for x, _ in data]
        axis.plot(xs, [figure[0] for _, figure in data], label=name, **_stroke(name))
        if all(len(figure) == 3 for _, figure in data):
            low, high = zip(*(figure[1:] for _, figure in data), strict=True)
            axis.fill_between(xs, low, high, color=_stroke(name)["color"], alpha=0.12)
    base = {p["x"]: p["zero_shot"][what] for p in points if p["zero_shot"].get(what)}
    if base:
        axis.plot(*zip(*sorted(base.items()), strict=True), ":", color=GRAY, label="zero-shot")
