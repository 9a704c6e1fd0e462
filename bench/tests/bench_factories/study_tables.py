"""Scores of a study whose right figures are known, and rows of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bench_factories.studies import answers, record
from robustmerge_bench.paper.score import Score
from robustmerge_bench.paper.study.tables.report import StudySection, make_report
from robustmerge_bench.results.table import ResultTable, TableRow

SEEN = ("vqav2", "rec")
TASKS = (*SEEN, "tabmwp")


def sample_scores(share: float, n: int = 400, seed: int = 0) -> np.ndarray:
    """Scores of samples of which this share, in percent, is right; the easy ones first."""
    hard = np.random.default_rng(seed).permutation(n)
    return np.where(hard < round(share * n / 100), 100.0, 0.0)


def task_scores(*shares: float, n: int = 400) -> dict[str, Score]:
    """Scores of vqav2, rec and tabmwp; methods are right on the same samples, as far as they go."""
    values = zip(TASKS, shares, strict=False)
    return {
        task: answers(task, sample_scores(share, n, i)) for i, (task, share) in enumerate(values)
    }


def section(out: Path, scores: Mapping[str, Mapping[str, Score]], **more: object) -> StudySection:
    kinds = {"experts": "individual", "base": "zero-shot"}
    record(out, scores, kinds=kinds, **more)  # type: ignore[arg-type]
    (result,) = make_report(out, draws=2000).sections
    return result


def row(table: ResultTable, label: str, kind: str | None = None) -> TableRow:
    (result,) = (x for x in table.rows if x.label == label and kind in (None, x.kind))
    return result


def texts(table: ResultTable, label: str, kind: str | None = None) -> list[str]:
    return [cell.text for cell in row(table, label, kind).cells]
