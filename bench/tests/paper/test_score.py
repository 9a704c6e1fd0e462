"""Scores: the figures on rows, intervals, and files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from bench_factories.results import estimate_mean
from robustmerge.errors import MergeError
from robustmerge_bench.paper import score as module
from robustmerge_bench.paper.figures import FIGURES
from robustmerge_bench.paper.score import Score


def made(rows: object, figure: str = "mean") -> Score:
    table = np.array(rows, float)
    return Score("rec", "fixed", figure, tuple(range(len(table))), table)


def test_the_mean() -> None:
    score = made([[100], [0], [0], [100], [50]])
    assert (score.n, score.value) == (5, 50)
    times = np.array([[2, 0, 0, 0, 0], [0, 1, 1, 0, 2]])
    assert score.resampled(times).tolist() == [100, 25]


def test_points_are_means_of_subtasks() -> None:
    """Two of one subtask with 200 and 100 points, one of another with 50."""
    score = made([[200, 1, 0, 0], [100, 1, 0, 0], [0, 0, 50, 1]], "points")
    assert score.value == 150 + 50
    times = np.array([[2, 0, 1], [0, 3, 0], [0, 0, 1]])
    assert score.resampled(times).tolist() == [250, 200, 100]


def test_f1_is_a_mean_of_categories() -> None:
    """One hit, one false alarm and one lost: 2 / 4; the other category has a hit alone."""
    rows = [[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0]]
    score = made(rows, "f1")
    assert score.value == 100 * (1 / 2 + 1) / 2
    assert score.resampled(np.array([[0, 1, 0, 1], [1, 1, 0, 0]])).tolist() == [
        50,
        100 * (2 / 3) / 2,
    ]


@given(st.lists(st.sampled_from([0.0, 100.0]), min_size=1, max_size=40))
def test_the_interval_is_the_one_of_stats(worths: list[float]) -> None:
    expected = estimate_mean(worths, draws=200)
    assert made([[w] for w in worths]).interval(draws=200) == pytest.approx(
        (expected.low, expected.high)
    )


def test_many_samples_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    score = made(np.random.default_rng(0).random((50, 1)))
    whole = score.interval(draws=30)
    monkeypatch.setattr(module, "_BLOCK", 120)  # two draws at a time
    assert score.interval(draws=30) == pytest.approx(whole, rel=1e-12)
    assert whole[0] < score.value < whole[1]


@pytest.mark.parametrize("figure", FIGURES)
def test_written_and_read(tmp_path: Path, figure: str) -> None:
    columns = {"mean": 1, "points": 4, "f1": 6, "captions": 19}[figure]
    rows = np.random.default_rng(1).random((7, columns))
    rows[:, 1::2] += 1
    score = Score(
        "vizwiz", "official", figure, ("a", 2, *range(5)), rows, 0.25, 0.5, {"METEOR": 3.5},
        ("METEOR",), 12.5,
    )  # fmt: skip
    path = tmp_path / "deep" / "score.json"
    score.write(path)
    again = Score.read(path)
    assert again.rows.tolist() == rows.tolist()
    assert (again.value, again.interval()) == (score.value, score.interval())
    for name in "task", "protocol", "figure", "ids", "empty", "unparsable", "missing", "chance":
        assert getattr(again, name) == getattr(score, name)
    assert dict(again.parts) == {"METEOR": 3.5}
    content = json.loads(path.read_text())
    assert (content["value"], content["n"]) == (score.value, 7)
    assert content["interval"] == list(score.interval())
    assert [p.name for p in path.parent.iterdir()] == ["score.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "ids": [1]}'])
def test_what_is_no_score(tmp_path: Path, text: str) -> None:
    path = tmp_path / "score.json"
    path.write_text(text)
    with pytest.raises(MergeError, match="not a score of format 1") as caught:
        Score.read(path)
    assert caught.value.where == str(path)
