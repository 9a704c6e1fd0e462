"""Tables of made-up scores, whose right figures are known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from bench_factories.studies import answers, record
from bench_factories.study_tables import (
    SEEN,
    TASKS,
    row,
    sample_scores,
    section,
    task_scores,
    texts,
)
from robustmerge.errors import MergeError
from robustmerge_bench.paper.figures import FIGURES
from robustmerge_bench.paper.score import Score
from robustmerge_bench.paper.study.published import PublishedRow
from robustmerge_bench.paper.study.record import StudyRecord
from robustmerge_bench.paper.study.tables.board import ContenderScores, ScoreBoard, read_board
from robustmerge_bench.paper.study.tables.report import as_data, make_report
from robustmerge_bench.paper.study.tables.summary import (
    StudySummary,
    resample_board,
    summarize_study,
)
from robustmerge_bench.results.comparison import PairwiseComparison
from robustmerge_bench.results.resampling import times_taken


def summarized(
    out: Path, scores: Mapping[str, Mapping[str, Score]], **more: object
) -> StudySummary:
    kinds = {"experts": "individual", "base": "zero-shot"}
    record(out, scores, kinds=kinds, **more)  # type: ignore[arg-type]
    return summarize_study(read_board(out, StudyRecord.read(out), "official"))


def pair(summary: StudySummary, name: str, first: str, second: str) -> PairwiseComparison:
    pairs = summary.comparisons[name]
    (result,) = (x for x in pairs if (x.first, x.second) == (first, second))
    return result


# --- Figures --------------------------------------------------------------------------------------


def test_averages_shares_and_the_worst_task(tmp_path: Path) -> None:
    result = summarized(
        tmp_path,
        {
            "experts": task_scores(80, 50),
            "base": task_scores(40, 40, 10),
            "a": task_scores(60, 45, 30),
        },
    )
    experts, base, a = result.contenders
    assert a.averages["seen"].value == pytest.approx(52.5)
    assert a.averages["unseen"].value == pytest.approx(30)
    assert a.normalized is not None
    assert a.normalized.value == pytest.approx(100 * (60 / 80 + 45 / 50) / 2)
    assert a.worst is not None
    assert (a.worst[0], a.worst[1].value) == ("vqav2", pytest.approx(75))
    assert base.worst is not None
    assert (base.worst[0], base.worst[1].value) == ("vqav2", pytest.approx(50))
    assert experts.averages.keys() == {"seen"}
    assert experts.normalized is None


def test_shares_are_of_the_same_samples(tmp_path: Path) -> None:
    """Whoever answers as the experts do has all of their score, whatever samples are drawn."""
    result = summarized(tmp_path, {"experts": task_scores(80, 50), "same": task_scores(80, 50, 30)})
    shares = result.contenders[1].normalized
    assert shares is not None
    assert (shares.low, shares.value, shares.high) == pytest.approx((100, 100, 100), abs=1e-9)


def test_intervals_are_those_of_the_textbook(tmp_path: Path) -> None:
    (a,) = summarized(tmp_path, {"a": task_scores(60, 30, 50, n=900)}).contenders
    error = {share: (share * (100 - share) / 900) ** 0.5 for share in (60, 30, 50)}
    for task, share in zip(TASKS, (60, 30, 50), strict=True):
        assert a.tasks[task].half == pytest.approx(1.96 * error[share], rel=0.06)
        assert a.tasks[task].low < share < a.tasks[task].high
    mean = (error[60] ** 2 + error[30] ** 2) ** 0.5 / 2
    assert a.averages["seen"].half == pytest.approx(1.96 * mean, rel=0.06)


@pytest.mark.parametrize("figure", ["mean", "captions", "f1", "points"])
def test_what_is_drawn_is_what_scores_draw(tmp_path: Path, figure: str) -> None:
    """All contenders at once, in parts, against `Score.drawn` of each by itself."""
    random = np.random.default_rng(3)
    columns = {"mean": 1, "captions": 12, "f1": 6, "points": 4}[figure]
    rows = [random.integers(1, 5, size=(1500, columns)).astype(float) for _ in range(3)]
    scores = {
        f"m{i}": {"vizwiz": Score("vizwiz", "official", figure, tuple(range(1500)), r)}
        for i, r in enumerate(rows)
    }
    assert figure in FIGURES
    record(tmp_path, scores, tasks=["vizwiz"])
    drawn = resample_board(
        read_board(tmp_path, StudyRecord.read(tmp_path), "official"), draws=900, seed=5
    )
    times = times_taken(np.random.default_rng(5), 900, 1500)
    for label, of_label in scores.items():
        expected = of_label["vizwiz"].resampled(times)
        np.testing.assert_allclose(drawn[label].draws["vizwiz"], expected, rtol=1e-12)
        assert drawn[label].values["vizwiz"] == of_label["vizwiz"].value


# --- Who is better --------------------------------------------------------------------------------


def test_a_planted_difference_is_found(tmp_path: Path) -> None:
    scores = {
        "worse": task_scores(50, 50, 50),
        "better": task_scores(53, 52, 50),
        "base": task_scores(20, 20, 20),
    }
    result = summarized(tmp_path, scores)
    seen = pair(result, "seen", "worse", "better")
    assert seen.difference.value == pytest.approx(-2.5)
    assert seen.p < 0.01
    # Far within the intervals of each: only in pairs can it be told.
    worse, better = (s.averages["seen"] for s in result.contenders[:2])
    assert worse.high > better.value
    assert better.low < worse.value
    assert pair(result, "seen", "better", "base").p < 0.01
    # On the unseen task they answer alike, and nothing is found.
    assert pair(result, "unseen", "worse", "better").p == 1


def test_equal_methods_are_not_told_apart(tmp_path: Path) -> None:
    """Twenty methods of one quality: 190 comparisons, and Holm lets none of them through."""
    random = np.random.default_rng(11)
    scores = {
        f"m{i}": {t: answers(t, 100.0 * (random.random(300) < 0.5)) for t in TASKS}
        for i in range(20)
    }
    result = summarized(tmp_path, scores)
    assert len(result.comparisons["seen"]) == 190
    assert result.draws >= 2 * 190 / 0.05
    assert min(each.p for each in result.comparisons["seen"]) > 0.05


def test_a_mirrored_comparison_is_the_same(tmp_path: Path) -> None:
    one = summarized(
        tmp_path / "1", {"a": task_scores(50, 50), "b": task_scores(53, 52)}, tasks=SEEN
    )
    two = summarized(
        tmp_path / "2", {"b": task_scores(53, 52), "a": task_scores(50, 50)}, tasks=SEEN
    )
    ab, ba = pair(one, "seen", "a", "b"), pair(two, "seen", "b", "a").reversed()
    assert ab.p == pytest.approx(ba.p)
    for end in ("value", "low", "high"):
        assert getattr(ab.difference, end) == pytest.approx(getattr(ba.difference, end))


def test_differences_as_they_are_shown(tmp_path: Path) -> None:
    result = section(tmp_path, {"a": task_scores(50, 50, 50), "b": task_scores(60, 52, 50)})
    grid = next(g for g in result.tables if g.name == "differences-seen")
    assert [column.text for column in grid.columns] == ["a", "b"]
    assert texts(grid, "a") == ["", "-6.00"]
    assert texts(grid, "b") == ["+6.00", ""]
    assert row(grid, "a").cells[1].detail == "*"
    assert row(grid, "b").cells[0].detail == "*"
    unseen = next(g for g in result.tables if g.name == "differences-unseen")
    assert row(unseen, "a").cells[1].detail == ""
    assert "Holm" not in grid.lead  # one comparison needs no correction


# --- What is missing ------------------------------------------------------------------------------


def test_missing_scores_are_shown_and_averages_over_fewer_tasks_are_not(tmp_path: Path) -> None:
    part = {task: score for task, score in task_scores(90, 90, 90).items() if task != "rec"}
    result = section(
        tmp_path,
        {"experts": task_scores(80, 50), "whole": task_scores(60, 45, 30), "part": part},
        failures={"part": {"rec": "no image a.png\n  where: b"}},
    )
    scores, averages, seen = result.tables[:3]
    assert texts(scores, "whole") == ["60.0", "45.0", "52.5", "30.0"]
    assert texts(scores, "part") == ["90.0", "missing", "missing", "90.0"]
    # The experts are not asked unseen tasks: that is nothing missing.
    assert texts(scores, "experts") == ["80.0", "50.0", "65.0", "–"]
    assert texts(averages, "part")[:4] == ["missing", "90.0", "–", "–"]
    assert [column.text for column in seen.columns] == ["experts", "whole"]
    assert "Without scores of all these tasks: part." in seen.lead
    assert ("", "part, missing on rec: failed: no image a.png.") in result.notes


def test_nothing_is_scored_yet(tmp_path: Path) -> None:
    failures = {"b": {"": "no such folder\n  where: c"}}
    result = section(tmp_path, {"a": {}, "b": {}}, failures=failures)
    assert ("", "b, missing on vqav2, rec, tabmwp: failed: no such folder.") in result.notes
    assert texts(result.tables[0], "a") == ["missing"] * 4
    assert "Nothing is scored yet." in result.tables[0].lead
    assert ("", "a, missing on vqav2, rec, tabmwp: not yet run.") in result.notes
    assert len(result.tables) == 2


def test_an_expert_worth_nothing_gives_no_shares(tmp_path: Path) -> None:
    result = summarized(tmp_path, {"experts": task_scores(0, 50), "a": task_scores(60, 45, 30)})
    assert result.contenders[1].normalized is None


def test_scores_of_other_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="not of the same samples") as caught:
        summarized(tmp_path, {"a": task_scores(50, 50), "b": task_scores(50, 50, n=300)})
    assert "a: 400 samples" in str(caught.value)
    assert "b: 300 samples" in str(caught.value)


def captions(missing: Sequence[str] = ()) -> Score:
    rows = np.ones((50, 12 if missing else 19))
    ids = tuple(range(50))
    return Score("vizwiz", "official", "captions", ids, rows, missing=tuple(missing))


def test_a_metric_that_could_not_be_computed_is_marked(tmp_path: Path) -> None:
    result = section(tmp_path, {"a": {"vizwiz": captions(["METEOR"])}}, tasks=["vizwiz"])
    (task,) = row(result.tables[0], "a").cells
    mean = row(result.tables[1], "a").cells[0]
    assert (task.mark, mean.mark) == ("†", "†")
    (note,) = (text for mark, text in result.notes if mark == "†")
    assert note.startswith("without METEOR in VizWiz")


def test_scores_by_other_metrics_are_not_compared(tmp_path: Path) -> None:
    scores = {"a": {"vizwiz": captions(["METEOR"])}, "b": {"vizwiz": captions()}}
    with pytest.raises(MergeError, match="same samples and metrics") as caught:
        summarized(tmp_path, scores, tasks=["vizwiz"])
    assert "a: without METEOR" in str(caught.value)


def test_a_protocol_that_was_not_scored(tmp_path: Path) -> None:
    record(tmp_path, {"a": task_scores(50, 50, 50)})
    with pytest.raises(MergeError, match="not scored by the protocol fixed"):
        make_report(tmp_path, ["fixed"])


# --- Marks ----------------------------------------------------------------------------------------


def test_the_best_merge_is_marked_and_nothing_else(tmp_path: Path) -> None:
    scores = {
        "experts": task_scores(99, 99),
        "a": task_scores(60, 45, 30),
        "b": task_scores(50, 45, 31),
    }
    grid, averages = section(tmp_path, scores).tables[:2]
    assert [c.best for c in row(grid, "a").cells] == [True, True, True, False]
    assert [c.best for c in row(grid, "b").cells] == [False, True, False, True]
    assert not any(c.best for c in row(grid, "experts").cells)
    assert [c.best for c in row(averages, "a").cells] == [True, False, True, True, False]


def test_answers_that_are_none_and_what_guessing_gets(tmp_path: Path) -> None:
    poor = answers("vqav2", sample_scores(50), empty=0.01, unparsable=0.04, chance=25.0)
    result = section(tmp_path, {"a": {**task_scores(50, 50, 50), "vqav2": poor}})
    averages = result.tables[1]
    assert row(averages, "a").cells[-1].text == "4.0"
    assert row(averages, "a").cells[-1].detail == "VQA"
    assert texts(result.tables[0], "chance") == ["25.0", "–", "–", "–"]


def test_benchmarks_in_points_are_not_averaged(tmp_path: Path) -> None:
    ids = tuple(range(200))
    scores = {
        label: {
            "pope": answers("pope", sample_scores(right, 200)),
            "mme": Score("mme", "official", "points", ids, points(total, 200)),
        }
        for label, right, total in (("a", 80, 1400.0), ("b", 90, 1500.0))
    }
    for of_label in scores.values():
        assert of_label["mme"].value > 1000
    result = section(tmp_path, scores, tasks=["pope", "mme"])
    assert [table.name for table in result.tables] == [
        "scores",
        "differences-pope",
        "differences-mme",
    ]
    assert [column.text for column in result.tables[0].columns] == ["POPE", "MME"]
    assert texts(result.tables[0], "b") == ["90.0", "1500.0"]
    assert texts(result.tables[2], "a") == ["", "-100.00"]


def points(total: float, n: int) -> np.ndarray:
    """Rows of ten subtasks whose means add up to this."""
    rows = np.zeros((n, 20))
    for i in range(n):
        rows[i, 2 * (i % 10)] = total / 10
        rows[i, 2 * (i % 10) + 1] = 1
    return rows


# --- JSON -----------------------------------------------------------------------------------------


def test_everything_as_data(tmp_path: Path) -> None:
    scores = {
        "experts": task_scores(80, 50),
        "a": task_scores(60, 45, 30),
        "b": task_scores(50, 45),
    }
    kinds = {"experts": "individual"}
    printed = PublishedRow(
        "a", "Paper, table 2", {"vqav2": 61.25, "rec": 44.0, "seen": 52.63, "tabmwp": 31.0}
    )
    record(tmp_path, scores, kinds=kinds, published=[printed])  # type: ignore[arg-type]
    data = json.loads(json.dumps(as_data(make_report(tmp_path)), allow_nan=False))
    result = data["protocols"]["official"]
    a = result["contenders"][1]
    assert a["label"] == "a"
    assert a["tasks"]["rec"]["value"] == pytest.approx(45)
    assert a["tasks"]["rec"]["n"] == 400
    assert a["tasks"]["rec"]["interval"][0] < 45 < a["tasks"]["rec"]["interval"][1]
    assert result["contenders"][2]["missing"] == ["tabmwp"]
    assert "unseen" not in result["contenders"][2]["averages"]
    (difference,) = (
        d for d in result["differences"]["seen"] if (d["first"], d["second"]) == ("a", "b")
    )
    assert difference["mean"] == pytest.approx(5)
    assert result["published"][0]["averages"] == {"seen": 52.63, "unseen": 31}
    assert data["tasks"] == {"vqav2": "seen", "rec": "seen", "tabmwp": "unseen"}


@given(st.lists(st.floats(0, 100), min_size=2, max_size=6), st.integers(0, 3))
def test_a_mean_is_never_over_fewer_tasks(values: list[float], gone: int) -> None:
    """Whatever is missing, an average is shown only where nothing is."""
    tasks = ("vqav2", "rec", "ocrvqa", "iconqa")
    scores = {t: answers(t, values) for t in tasks[gone:]}
    result = _summary_of(tasks, scores)
    (summary,) = result.contenders
    assert ("seen" in summary.averages) == (gone == 0)


def _summary_of(tasks: Sequence[str], scores: Mapping[str, Score]) -> StudySummary:
    from robustmerge_bench.paper.study.record import ListedContender
    from robustmerge_bench.paper.tasks import TASKS as KNOWN

    named = ListedContender("a", "merge", tuple(tasks))
    whole = StudyRecord(
        "t", "", "b", {}, tuple(KNOWN[t] for t in tasks), ("official",), (named,), (), {}, {}
    )
    return summarize_study(
        ScoreBoard(whole, "official", (ContenderScores(named, scores),), ()), draws=50
    )
