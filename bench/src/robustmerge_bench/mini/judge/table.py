"""Tables of a standing, as Markdown of at most 120 characters a line, and as plain data."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ...figure import ScoreEstimate
from .standing import Row, Section, Standing
from .summary import Summary
from .versus import record

_LABEL = 28  # characters of a label that are shown
_HEAD = ("", "seen", "worst", "unseen", "kept %", "norm.", "factor", "won/lost", "s")


def as_markdown(standings: Sequence[Standing]) -> str:
    """All tables: for every family averages and then task scores, a pair for scale and rank."""
    return "\n".join(line for standing in standings for line in _family(standing))


def _family(standing: Standing) -> list[str]:
    family = standing.family
    n = {scores.shape[1] for scores in family.zero_shot.values()}
    seeds = ", ".join(map(str, family.seeds))
    lines = [
        f"## Experts: {family.name}, seeds {seeds}",
        "",
        f"{max(n)} test items a task. ± is half of a 95% bootstrap interval over items"
        + (" and seeds." if len(family.seeds) > 1 else "."),
        "worst: the worst seen task. kept: share of the experts' gain over zero-shot. norm.: mean",
        "ratio to the experts, in percent. won/lost: merges of the same table that it beats, or",
        "that beat it, on the seen average, in pairs over items (p < 0.05 after Holm). s: seconds",
        "of one merge.",
        "",
    ]
    for section in standing.sections:
        lines += _section(standing, section)
    if family.matrix:
        lines += ["### Every expert on every task", "", *_matrix(standing), ""]
    if family.incomplete:
        lines += ["Not yet done for every seed: " + "; ".join(family.incomplete) + ".", ""]
    return lines


def _section(standing: Standing, section: Section) -> list[str]:
    tuned = ", the factor tuned on validation items" if section.scale == "sweep" else ""
    references = {
        "zero-shot": standing.zero_shot,
        "experts": standing.experts,
        "joint": standing.joint,
    }
    there = {name: summary for name, summary in references.items() if summary}
    averages = [_averages(name, summary) for name, summary in there.items()]
    averages += [
        _averages(r.entry.label, r.summary, *_merge_cells(r, section)) for r in section.rows
    ]
    tasks = [_scores(name, summary, standing) for name, summary in there.items()]
    tasks += [_scores(r.entry.label, r.summary, standing) for r in section.rows]
    lines = [f"### Scale {section.scale}, rank {section.rank}{tuned}", ""]
    lines += _table(_HEAD, averages)
    lines += _told_apart(section)
    if any(row.entry.at_limit for row in section.rows):
        lines += ["", "*: the sweep ended at the last factor it may try."]
    names = (*standing.family.seen, *standing.family.unseen)
    return [*lines, "", *_table(("", *names), tasks), ""]


def _told_apart(section: Section) -> list[str]:
    """Which merges may be as good as the best one."""
    best = section.rows[0].entry.label
    level = [
        duel.second if duel.first == best else duel.first
        for duel in section.duels
        if best in (duel.first, duel.second) and not duel.winner
    ]
    if len(section.rows) == 1:
        return []
    said = f"Not told apart from {best}: {', '.join(level) or 'none'}."
    return ["", *textwrap.wrap(said, 100, break_long_words=False, break_on_hyphens=False)]


def _averages(label: str, s: Summary, factor: str = "", won: str = "", took: str = "") -> list[str]:
    kept = f"{s.kept.value:.0f} ±{s.kept.half:.0f}" if s.kept and _there(s.kept) else "–"
    norm = f"{s.normalized.value:.0f}" if s.normalized and _there(s.normalized) else "–"
    worst = f"{_short(s.worst.value)} {s.worst_task}"
    unseen = _with_interval(s.unseen) if s.unseen else "–"
    return [label, _with_interval(s.seen), worst, unseen, kept, norm, factor, won, took]


def _merge_cells(row: Row, section: Section) -> tuple[str, str, str]:
    entry = row.entry
    low, high = min(entry.factors), max(entry.factors)
    factor = f"{low:.3g}" if low == high else f"{low:.2g}-{high:.2g}"
    won, lost = record(section.duels, entry.label)
    return factor + "*" * entry.at_limit, f"{won}/{lost}", f"{entry.seconds:.1f}"


def _scores(label: str, summary: Summary, standing: Standing) -> list[str]:
    names = (*standing.family.seen, *standing.family.unseen)
    return [label, *(_short(summary.tasks[n].value) if n in summary.tasks else "–" for n in names)]


def _matrix(standing: Standing) -> list[str]:
    family = standing.family
    names = (*family.seen, *family.unseen)
    rows = [
        [expert, *(_short(float(scores[name].mean())) for name in names)]
        for expert, scores in family.matrix.items()
    ]
    return _table(("expert", *names), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns are aligned."""
    cut = [[_clipped(row[0]), *row[1:]] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cut) for i in range(len(head))]
    first, *others = (
        "| "
        + " | ".join(
            _padded(cell, w, i) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in cut
    )
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    return [first, "| " + " | ".join(rule) + " |", *others]


def _padded(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column else cell.ljust(width)


def _clipped(label: str) -> str:
    return label if len(label) <= _LABEL else label[: _LABEL - 1] + "…"


def _with_interval(figure: ScoreEstimate) -> str:
    return f"{figure.value:.1f} ±{figure.half:.1f}"


def _short(value: float) -> str:
    """At most four characters."""
    return "100" if value >= 99.95 else f"{value:.1f}"


def _there(figure: ScoreEstimate) -> bool:
    return math.isfinite(figure.value)


def as_data(standings: Sequence[Standing]) -> dict[str, Any]:
    """The same and more as plain data: every interval, every pair."""
    return {standing.family.name: _plain(_family_data(standing)) for standing in standings}


def _family_data(standing: Standing) -> dict[str, Any]:
    family = standing.family
    return {
        "seeds": family.seeds,
        "items": {task: scores.shape[1] for task, scores in family.zero_shot.items()},
        "seen": family.seen,
        "unseen": family.unseen,
        "zero_shot": asdict(standing.zero_shot),
        "experts": asdict(standing.experts),
        "joint": asdict(standing.joint) if standing.joint else None,
        "matrix": {
            expert: {task: float(values.mean()) for task, values in scores.items()}
            for expert, scores in family.matrix.items()
        },
        "sections": [
            {
                "scale": section.scale,
                "rank": section.rank,
                "merges": [_row_data(row, section) for row in section.rows],
                "pairs": [asdict(duel) | {"winner": duel.winner} for duel in section.duels],
            }
            for section in standing.sections
        ],
        "incomplete": family.incomplete,
    }


def _row_data(row: Row, section: Section) -> dict[str, Any]:
    won, lost = record(section.duels, row.entry.label)
    seeds = zip(*(row.entry.scores[t].mean(axis=1) for t in row.entry.scores), strict=True)
    return {
        "merge": row.entry.label,
        **asdict(row.summary),
        "factors": row.entry.factors,
        "at_limit": row.entry.at_limit,
        "seconds": row.entry.seconds,
        "won": won,
        "lost": lost,
        "seeds": [dict(zip(row.entry.scores, map(float, scores), strict=True)) for scores in seeds],
    }


def _plain(value: Any) -> Any:
    """What JSON can say: no NaN, no tuples, four decimals."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        # A p-value may be as small as it likes.
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
