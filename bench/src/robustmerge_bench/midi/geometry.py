"""The geometry of experts, side by side for sets of different worlds.

All figures are of `robustmerge diagnose`, where each is defined; here they are quantiles over
modules and adapters, or pairs of adapters. How far A has drifted from a start that all experts
share shows in the cosine of two A: at 1 they are where they began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import robustmerge

from ..mini.runs.folders import JOINT
from ..results.markdown import table_lines
from ..results.table import ResultTable, TableCell, TableColumn, TableRow

FIGURES: Mapping[str, tuple[str, str]] = {
    "relative size of an update": ("spectra", "change"),
    "its energy in one direction": ("spectra", "first_share"),
    "its effective rank": ("spectra", "effective_rank"),
    "cosine of two updates": ("pairs", "cosine"),
    "cosine of two A": ("pairs", "A_cosine"),
    "overlap of two input spaces": ("pairs", "inputs"),
    "the same by chance": ("pairs", "inputs_chance"),
    "overlap of two output spaces": ("pairs", "outputs"),
    "the same, by chance": ("pairs", "outputs_chance"),
    "coefficient of an update in the sum": ("heard", "in_sum"),
    "crosstalk in the sum": ("heard", "crosstalk"),
    "coherence of the sum": ("total", "coherence"),
    "its energy at input rank": ("total", "at_input_rank"),
    "size of the product of summed factors": ("apart", "gain"),
}
"""Table and column of `diagnose`, by what a row is called."""

QUANTILES = (0.1, 0.5, 0.9)

Geometry = Mapping[str, tuple[float, float, float]]
"""The 10, 50 and 90 % quantiles of every figure."""


def measure_geometry(root: Path, experts: str = "shared-0") -> Geometry:
    """Measure a set of experts of a trained benchmark, which may be an artifact.

    Eight experts of rank 8 on 210 modules take some 2 minutes of one core.

    Raises:
        MergeError: there are no two such experts, or they are of another base.
    """
    folders = sorted(
        folder
        for folder in (root / "experts" / experts).glob("*")
        if folder.name != JOINT and (folder / "adapter_config.json").is_file()
    )
    diagnosis = robustmerge.diagnose(folders, base=root / "base")
    tables = diagnosis.to_dict()["tables"]
    return {label: _quantiles(tables[table][column]) for label, (table, column) in FIGURES.items()}


def _quantiles(values: Sequence[Any]) -> tuple[float, float, float]:
    """Return quantiles of the figures that are defined."""
    defined = [float(value) for value in values if value is not None]
    low, median, high = np.quantile(defined, QUANTILES) if defined else [np.nan] * 3
    return float(low), float(median), float(high)


def as_markdown(sets: Mapping[str, Geometry]) -> str:
    """Write a table: a row for each figure, medians with 10 and 90 % for each set."""
    rows = [
        TableRow(label, "", tuple(TableCell(_shown(each[label])) for each in sets.values()))
        for label in FIGURES
    ]
    return "\n".join(
        table_lines(ResultTable("", "", "", tuple(map(TableColumn, sets)), tuple(rows)))
    )


def _shown(values: tuple[float, float, float]) -> str:
    low, median, high = (f"{value:.3g}" for value in values)
    return f"{median} ({low} to {high})"
