"""The table of geometry has the figures of `diagnose`, for one world or two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import robustmerge
from robustmerge_bench.midi.geometry import FIGURES, as_markdown, measure_geometry

MINI = Path(__file__).parents[2] / "artifacts" / "mini"


def test_figures_are_quantiles_of_those_of_diagnose(tmp_path: Path) -> None:
    few = tmp_path / "few"
    (few / "experts" / "shared-0").mkdir(parents=True)
    (few / "base").symlink_to(MINI / "base")
    tasks = ("sqa", "viz", "joint")
    for task in tasks:
        (few / "experts" / "shared-0" / task).symlink_to(MINI / "experts" / "shared-0" / task)
    measured = measure_geometry(few)
    assert measured.keys() == FIGURES.keys()
    folders = [few / "experts" / "shared-0" / task for task in ("sqa", "viz")]  # not joint
    tables = robustmerge.diagnose(folders, base=few / "base").to_dict()["tables"]
    cosines = tables["pairs"]["cosine"]
    assert measured["cosine of two updates"] == pytest.approx(np.quantile(cosines, [0.1, 0.5, 0.9]))
    low, median, high = measured["relative size of an update"]
    assert 0.01 < low < median < high < 0.1
    text = as_markdown({"one": measured, "two": measured})
    assert len(text.splitlines()) == 2 + len(FIGURES)
    assert text.count(f" {median:.3g} ({low:.3g} to {high:.3g}) |") == 2
