"""Tables of a family, as Markdown of at most 120 characters a line, and as plain data."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ...results.comparison import count_wins_and_losses
from ...results.markdown import table_lines
from ...results.resampling import ScoreEstimate
from ...results.table import NONE, ResultTable, TableCell, TableColumn, TableRow
from .summary import FamilySummary, ModelSummary, RankedMerge, Ranking

_LABEL = 28  # characters of a label that are shown
_AVERAGES = ("seen", "worst", "unseen", "kept %", "norm.", "factor", "won/lost", "s")


def as_markdown(summaries: Sequence[FamilySummary]) -> str:
    """Write all tables: for every family averages and then task scores, by scale and rank."""
    return "\n".join(line for summary in summaries for line in _family(summary))


def _family(summary: FamilySummary) -> list[str]:
    family = summary.family
    n = max(scores.shape[1] for scores in family.zero_shot.values())
    seeds = ", ".join(map(str, family.seeds))
    lines = [
        f"## Experts: {family.name}, seeds {seeds}",
        "",
        f"{n} test items a task. ± is half of a 95% bootstrap interval over items"
        + (" and seeds." if len(family.seeds) > 1 else "."),
        "worst: the worst seen task. kept: share of the experts' gain over zero-shot. norm.: mean",
        "ratio to the experts, in percent. won/lost: merges of the same table that it beats, or",
        "that beat it, on the seen average, in pairs over items (p < 0.05 after Holm). s: seconds",
        "of one merge.",
        "",
    ]
    for ranking in summary.rankings:
        lines += _ranking(summary, ranking)
    if family.matrix:
        matrix = {
            expert: {task: float(values.mean()) for task, values in scores.items()}
            for expert, scores in family.matrix.items()
        }
        lines += ["### Every expert on every task", "", *_task_table(summary, matrix), ""]
    if family.incomplete:
        lines += ["Not yet done for every seed: " + "; ".join(family.incomplete) + ".", ""]
    return lines


def _ranking(summary: FamilySummary, ranking: Ranking) -> list[str]:
    references = {
        "zero-shot": summary.zero_shot,
        "experts": summary.experts,
        "joint": summary.joint,
    }
    models = {name: model for name, model in references.items() if model}
    rows = [_averages(name, model, [TableCell("")] * 3) for name, model in models.items()]
    rows += [_averages(r.merge.label, r.summary, _of_merge(r, ranking)) for r in ranking.rows]
    columns = tuple(map(TableColumn, _AVERAGES))
    tuned = ", the factor tuned on validation items" if ranking.scale == "sweep" else ""
    title = f"### Scale {ranking.scale}, rank {ranking.rank}{tuned}"
    lines = [title, "", *_lines(columns, rows), *_as_good_as_the_best(ranking)]
    if any(row.merge.at_limit for row in ranking.rows):
        lines += ["", "*: the sweep ended at the last factor it may try."]
    models |= {row.merge.label: row.summary for row in ranking.rows}
    scores = {
        label: {task: estimate.value for task, estimate in model.tasks.items()}
        for label, model in models.items()
    }
    return [*lines, "", *_task_table(summary, scores), ""]


def _averages(label: str, model: ModelSummary, others: Sequence[TableCell]) -> TableRow:
    worst = TableCell(_short(model.worst.value), model.worst_task)
    shares = (_percent(model.kept), TableCell(_percent(model.normalized).text))
    seen, unseen = (TableCell.of(mean, 1) for mean in (model.seen, model.unseen))
    return TableRow(label, "", (seen, worst, unseen, *shares, *others))


def _percent(share: ScoreEstimate | None) -> TableCell:
    return TableCell.of(share if share and math.isfinite(share.value) else None, 0)


def _of_merge(row: RankedMerge, ranking: Ranking) -> list[TableCell]:
    merge = row.merge
    low, high = min(merge.factors), max(merge.factors)
    factor = f"{low:.3g}" if low == high else f"{low:.2g}-{high:.2g}"
    won, lost = count_wins_and_losses(ranking.comparisons, merge.label)
    return [
        TableCell(factor, mark="*" * merge.at_limit),
        TableCell(f"{won}/{lost}"),
        TableCell.of(merge.seconds, 1),
    ]


def _as_good_as_the_best(ranking: Ranking) -> list[str]:
    """Name the merges that may be as good as the best one."""
    if len(ranking.rows) == 1:
        return []
    best = ranking.rows[0].merge.label
    others = [
        pair.second if pair.first == best else pair.first
        for pair in ranking.comparisons
        if best in (pair.first, pair.second) and not pair.significant
    ]
    text = f"Not significantly different from {best}: {', '.join(others) or 'none'}."
    return ["", *textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)]


def _task_table(summary: FamilySummary, scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    names = (*summary.family.seen, *summary.family.unseen)
    rows = [
        TableRow(label, "", tuple(TableCell(_short(own.get(name))) for name in names))
        for label, own in scores.items()
    ]
    return _lines(tuple(map(TableColumn, names)), rows)


def _lines(columns: tuple[TableColumn, ...], rows: Sequence[TableRow]) -> list[str]:
    return table_lines(ResultTable("", "", "", columns, tuple(rows)), _LABEL)


def _short(value: float | None) -> str:
    """Write a score in at most four characters."""
    return NONE if value is None else "100" if value >= 99.95 else f"{value:.1f}"


# --- JSON -----------------------------------------------------------------------------------------


def as_data(summaries: Sequence[FamilySummary]) -> dict[str, Any]:
    """Return the same and more as plain data: every interval, every pair."""
    return {summary.family.name: _plain(_family_data(summary)) for summary in summaries}


def _family_data(summary: FamilySummary) -> dict[str, Any]:
    family = summary.family
    return {
        "seeds": family.seeds,
        "items": {task: scores.shape[1] for task, scores in family.zero_shot.items()},
        "seen": family.seen,
        "unseen": family.unseen,
        "zero_shot": asdict(summary.zero_shot),
        "experts": asdict(summary.experts),
        "joint": asdict(summary.joint) if summary.joint else None,
        "matrix": {
            expert: {task: float(values.mean()) for task, values in scores.items()}
            for expert, scores in family.matrix.items()
        },
        "sections": [
            {
                "scale": ranking.scale,
                "rank": ranking.rank,
                "merges": [_merge_data(row, ranking) for row in ranking.rows],
                "pairs": [asdict(pair) | {"winner": pair.winner} for pair in ranking.comparisons],
            }
            for ranking in summary.rankings
        ],
        "incomplete": family.incomplete,
    }


def _merge_data(row: RankedMerge, ranking: Ranking) -> dict[str, Any]:
    merge = row.merge
    won, lost = count_wins_and_losses(ranking.comparisons, merge.label)
    seeds = zip(*(scores.mean(axis=1) for scores in merge.scores.values()), strict=True)
    return {
        "merge": merge.label,
        **asdict(row.summary),
        "factors": merge.factors,
        "at_limit": merge.at_limit,
        "seconds": merge.seconds,
        "won": won,
        "lost": lost,
        "seeds": [dict(zip(merge.scores, map(float, scores), strict=True)) for scores in seeds],
    }


def _plain(value: Any) -> Any:
    """Round numbers to six digits, and replace what JSON does not know: NaN and tuples."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        # Digits rather than decimals: a p-value may be very small.
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
