"""Results on disk: whole or not at all, and taken only for the job they are about."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robustmerge.errors import MergeError
from robustmerge_bench.mini.runs.contender import Contender
from robustmerge_bench.mini.runs.job import EvaluationJob
from robustmerge_bench.mini.runs.results import Result, is_done, read_all

JOB = EvaluationJob(
    "merge",
    {"sqa": True, "aok": False},
    3,
    Path("base"),
    {"base": "1", "world": "2", "sqa": "3"},
    family="shared",
    merge=Contender("ties", (("density", 0.3),), ("norms",), (), "sweep", "full"),
    validation=2,
)
SCORES = {"sqa": np.array([0.0, 100.0, 33.33333]), "aok": np.array([1.0, 2.5, 12.345])}


def result(job: EvaluationJob = JOB) -> Result:
    swept = {"tried": {"1": 20.0, "2": 30.5}, "at_limit": False}
    return Result(job.facts(), SCORES, 2.0, swept, {"merge": 1.23456}, ("a remark",))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / JOB.file
    result().write(path)
    actual = Result.read(path)
    assert actual.facts["parameters"]["density"] == 0.3
    assert actual.scores["sqa"].tolist() == [0, 100, 33.33]
    assert actual.scores["aok"].tolist() == [1, 2.5, 12.35]
    assert (actual.factor, actual.sweep["tried"], actual.notes) == (
        2.0,
        {"1": 20.0, "2": 30.5},
        ("a remark",),
    )
    assert actual.seconds == {"merge": 1.235}
    assert is_done(JOB, path.parent)
    assert [p.name for p in path.parent.iterdir()] == [JOB.file]


def test_scores_are_written_compactly(tmp_path: Path) -> None:
    result().write(tmp_path / "r.json")
    assert '"sqa":[0,100,33.33]' in (tmp_path / "r.json").read_text()


def test_a_score_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    bad = replace(result(), scores={"sqa": np.array([np.nan])})
    with pytest.raises(ValueError, match="NaN"):
        bad.write(tmp_path / "r.json")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_file_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(MergeError, match="No space left"):
        result().write(tmp_path / "r.json")
    assert list(tmp_path.iterdir()) == []


def test_half_a_file_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / JOB.file
    assert not is_done(JOB, tmp_path)
    result().write(path)
    text = path.read_text()
    for end in (0, 1, len(text) // 2, len(text) - 3):
        path.write_text(text[:end])
        assert not is_done(JOB, tmp_path)
        with pytest.raises(MergeError, match="not a result of format 1"):
            read_all(tmp_path)
    path.write_text(text)
    assert is_done(JOB, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 0},
        {"job": {}},
        {"scores": {"sqa": [0, 0, 0]}},
        {"scores": {"sqa": [0, 0, 0], "aok": [0, 0]}},
    ],
)
def test_a_file_about_something_else_does_not_count(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / JOB.file
    result().write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert not is_done(JOB, tmp_path)


def test_a_folder_without_results(tmp_path: Path) -> None:
    (tmp_path / ".hidden.partial").write_text("{")
    with pytest.raises(MergeError, match="no results"):
        read_all(tmp_path)


def test_a_name_is_readable_and_safe() -> None:
    name = JOB.file
    assert name.startswith("shared-0-norms-ties-density=0.3-sweep-full.")
    steps = ("norms:exponent=0.123456789",) * 20
    assert len(replace(JOB, merge=Contender("ties", balance=steps, rank="full")).file) < 200
    assert "/" not in replace(JOB, family="a/b").file
