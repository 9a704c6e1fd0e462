"""docs/minibench.md, from its template and the raw results alone.

The template is written by hand; `{{name}}` in it is replaced by what this file makes of the results
under that name. Missing parts are named in their place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError

from . import findings, tables
from .tables import SCALES, WORDS, Data, Table, titled

_SLOT = re.compile(r"\{\{([a-z0-9_]+)\}\}")
FAMILIES = ("shared", "independent")
FEW = 8
"""Names up to which a list is complete."""

SEEDS = 3
"""Sets of experts that a family should have before its intervals over seeds mean much."""

RANKS = ("input", "full")
WANTED = {
    "table6": "pruning, scaling, normalization (table 6)",
    "table7": "where the coefficient comes from (table 7)",
    "density": "density (figure 5a)",
    "criterion": "criterion of pruning (figure 5b)",
    "rank": "rank of the experts (figure 6)",
    "number": "number of tasks (figure 9)",
}
CHARTS = {
    "items": "One test item of each task, with question and answer",
    "scatter": "Seen against unseen average of every merge",
    "scale": "Validation score against the factor on the merge",
    "density": "Seen and unseen average against density",
    "number": "Share of the gain kept, and unseen average, against the number of merged tasks",
    "rank": "Seen and unseen average against the rank of the experts",
}


def document(template: str, results: Mapping[str, Any], charts: Path) -> str:
    """Fill the document's template.

    Args:
        template: A text with slots.
        results: The raw results.
        charts: The folder of the charts; missing ones are not shown.

    Raises:
        MergeError: the template has an unknown slot.
    """
    return fill(template, _slots(results, charts), "the template of docs/minibench.md")


def fill(template: str, slots: Mapping[str, Callable[[], Table]], where: str) -> str:
    """Fill the slots of a template.

    Raises:
        MergeError: the template has an unknown slot.
    """

    def filled(match: re.Match[str]) -> str:
        if match[1] not in slots:
            raise MergeError(
                f"no slot {match[1]!r}",
                where=where,
                hint=f"there are {', '.join(sorted(slots))}",
            )
        return "\n".join(slots[match[1]]()).strip("\n")

    return _SLOT.sub(filled, template)


def _slots(results: Mapping[str, Any], charts: Path) -> dict[str, Callable[[], Table]]:
    views: list[Data] = results["views"]
    studies = {study["study"]: study for study in results["studies"]}
    slots: dict[str, Callable[[], Table]] = {
        "setting": lambda: _setting(results),
        "commands": lambda: ["```console", *results["commands"], "```"],
        "tasks": lambda: each_view(views[:1], tables.tasks),
        "gates": lambda: each_view(views, tables.gates),
        "overview": lambda: each_view(views, tables.overview),
        "all_methods": lambda: [line for view in views for line in _all_methods(view)],
        "per_task": lambda: each_view(views[:1], _per_task),
        "beats": lambda: each_view(views, _beats),
        "matrix": lambda: (
            each_view([v for v in views if v["matrix"]], tables.matrix)
            or ["Not run: every expert on every task (`--only matrix`)."]
        ),
        "not_run": lambda: not_run(results),
    }
    for name in findings.FINDINGS:
        slots[f"finding_{name}"] = partial(findings.finding, name, views)
    slots |= {
        "finding_regime": lambda: findings.regime(views),
        "finding_untuned": lambda: findings.untuned(views),
        "finding_criteria": lambda: findings.criteria(studies),
    }
    for name in ("table6", "table7", "criterion"):
        slots[name] = partial(_study, studies, name)
    for name in ("density", "number", "rank"):
        slots[name] = partial(_curves, studies, name)
    for name, title in CHARTS.items():
        slots[f"picture_{name}"] = partial(_chart, charts, name, title)
    return slots


def _setting(results: Mapping[str, Any]) -> Table:
    lines = [
        f"- {results['items']} test items a task, {results['validation']} validation items of each "
        "seen task for tuning.",
        *_with_data(results),
        "- Sets of experts: " + "; ".join(dict.fromkeys(map(titled, results["views"]))) + ".",
        f"- robustmerge {results['made']['robustmerge']}, torch {results['made']['torch']}, "
        f"{results['made']['cores']} cores.",
    ]
    base = {view["hashes"]["base"][:12] for view in results["views"]}
    world = {view["hashes"]["world"][:12] for view in results["views"]}
    return [
        *lines,
        f"- SHA-256 of the base {', '.join(sorted(base))}, of the world "
        f"{', '.join(sorted(world))} (first digits).",
    ]


def _with_data(results: Data) -> Table:
    some = [name for name in results["with_data"] if name in results["methods"]]
    if not some:
        return []
    return [
        f"- Methods that need data ({', '.join(some)}) are given the same {results['validation']} "
        "validation items without their answers, by `robustmerge collect`."
    ]


def each_view(views: list[Data], make: Callable[[Data], Table]) -> Table:
    """Make a table for every view under a line that names its experts."""
    lines: Table = []
    for view in views:
        if made := make(view):
            lines += [f"Experts: {titled(view)}.", "", *made, ""]
    return lines


def _all_methods(view: Data) -> Table:
    lines: Table = []
    for scale in SCALES:
        made = tables.scale_table(view, scale)
        if not made:
            continue
        tuned = ", tuned on validation data" if scale == "sweep" else ""
        only = "" if tables.section(view, scale, "input") else ", full rank"
        text = "best factor" if scale == "sweep" else WORDS[scale]
        lines += [f"#### {titled(view)}: {text}{tuned}{only}", ""]
        lines += [*made, "", *_level(view, scale)]
    return lines


def _level(view: Data, scale: str) -> Table:
    lines: Table = []
    for rank in RANKS:
        data = tables.section(view, scale, rank)
        if data and len(data["order"]) > 1:
            level = ", ".join(tables.level_with_best(data)) or "none"
            lines += [
                f"Not significantly different from {data['order'][0]} at {rank} rank: {level}.",
                "",
            ]
    rows = [
        r for rank in RANKS for r in (tables.section(view, scale, rank) or {"rows": []})["rows"]
    ]
    if any(row["at_limit"] for row in rows):
        lines += ["*: the sweep ended at the last factor it may try.", ""]
    return lines


def _per_task(view: Data) -> Table:
    return _by_scale(view, tables.per_task)


def _beats(view: Data) -> Table:
    return _by_scale(view, tables.pairwise)


def _by_scale(view: Data, make: Callable[[Data, str], Table]) -> Table:
    lines: Table = []
    for scale in ("default", "sweep"):
        if made := make(view, scale):
            lines += [f"At {'its own scale' if scale == 'default' else 'the tuned scale'}:", ""]
            lines += [*made, ""]
    return lines


def _study(studies: Mapping[str, Data], name: str) -> Table:
    data = studies.get(name)
    if not data or not data["points"]:
        return [f"Not run: {WANTED[name]}."]
    return [f"Experts: {titled(data)}.", "", *tables.study(data), "", *_missing(data)]


def _curves(studies: Mapping[str, Data], name: str) -> Table:
    data = studies.get(name)
    if not data or not data["points"]:
        return [f"Not run: {WANTED[name]}."]
    lines = [f"Experts: {titled(data)}. Columns: {data['x_label']}.", ""]
    for scale in SCALES:
        for what in ("seen", "unseen", *(["kept"] if name == "number" else [])):
            if made := tables.curves(data, scale, what):
                text = "share of the gain kept, %" if what == "kept" else f"{what} average"
                lines += [f"{text.capitalize()}, {WORDS[scale]}:", "", *made, ""]
    return [*lines, *_missing(data)]


def _missing(data: Data) -> Table:
    """Name the merges of a study that were not run, by scale and row."""
    text = []
    for scale in SCALES:
        columns: dict[str, list[str]] = {}
        for row, x, at in data["missing"]:
            if at == scale:
                columns.setdefault(row, []).append("" if x is None else f"{x:g}")
        for row, xs in columns.items():
            where = f" at {', '.join(xs)}" if any(xs) else ""
            text.append(f"{row}{where} ({WORDS[scale]})")
    return [f"Not run: {'; '.join(text)}.", ""] if text else []


def _chart(folder: Path, name: str, title: str) -> Table:
    if not (folder / f"{name}.png").is_file():
        return [f"Not drawn: {title[0].lower()}{title[1:]}."]
    return [f"![{title}]({folder.name}/{name}.png)"]


def not_run(results: Mapping[str, Any]) -> Table:
    """List the parts of the document that were not run."""
    lines: Table = []
    views: list[Data] = results["views"]
    for family in FAMILIES:
        seeds = {seed for view in views if view["family"] == family for seed in view["seeds"]}
        if len(seeds) < SEEDS:
            lines.append(f"- experts {family}: {len(seeds)} of {SEEDS} seeds")
    for view in views:
        lines += _gaps(view, results["methods"])
    by_name = {study["study"]: study for study in results["studies"]}
    for name, text in WANTED.items():
        data = by_name.get(name)
        if not data or not data["points"]:
            lines.append(f"- {text}: nothing")
        elif data["missing"]:
            lines.append(f"- {text}: {len(data['missing'])} of its merges")
    if not any(view["matrix"] for view in views):
        lines.append("- every expert on every task")
    return ["Not run:", "", *lines] if lines else ["All of it has been run."]


def _gaps(view: Data, methods: list[str]) -> Table:
    lines = []
    for scale in SCALES:
        for rank in RANKS:
            data = tables.section(view, scale, rank)
            order = data["order"] if data else []
            gone = [method for method in methods if method not in order]
            what = f"- {titled(view)}: scale {scale}, {rank} rank"
            if not order:
                lines.append(what)
            elif gone:
                few = (
                    ", ".join(gone)
                    if len(gone) <= FEW
                    else f"{len(gone)} of {len(methods)} methods"
                )
                lines.append(f"{what}: {few}")
    if view["incomplete"]:
        lines.append(
            f"- {titled(view)}: {len(view['incomplete'])} merges for some of the seeds only"
        )
    return lines
