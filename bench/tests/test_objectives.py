"""Measures of the benchmark: metrics on samples of one's own, and the laptop benchmark's tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from bench_factories.untrained_world import make_root
from robustmerge import MergeError
from robustmerge.collect.samples import Sample
from robustmerge.engine.recipe import Recipe
from robustmerge.tuning import answers, measures
from robustmerge.tuning.objective import Objective, ObjectiveSetup
from robustmerge_bench.mini.tasks import SEEN
from robustmerge_bench.objectives import METRICS

ADAPTER = Path("an adapter")
LABELS = {
    "exact-match": "a red cat",
    "letter-match": "B",
    "box-match": "[0.1, 0.2, 0.5, 0.6]",
    "sentence-score": "a red cat sits there",
}


@pytest.fixture(autouse=True)
def _entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declare the measures as pyproject.toml does, whatever is installed."""
    group = "robustmerge.objectives"
    point = EntryPoint("bench", "robustmerge_bench.objectives", group)
    monkeypatch.setattr(measures, "entry_points", lambda group: [point])


def make(text: str, recipe: Recipe, **options: Any) -> Objective:
    return measures.make_objective(text, ObjectiveSetup(recipe, **options))


def test_the_entry_point_is_declared() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert 'entry-points."robustmerge.objectives"]\nbench = "robustmerge_bench.objectives"' in text


@pytest.fixture
def samples(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    lines = [{"prompt": str(n), "answer": LABELS[request.param]} for n in range(10)]
    path = tmp_path / "vqa.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("samples", "name"), [(n, n) for n in sorted(METRICS)], indirect=["samples"]
)
def test_metrics_are_means_over_samples(
    monkeypatch: pytest.MonkeyPatch, samples: Path, name: str
) -> None:
    """The model answers all samples but two of the eight as their labels say."""

    @contextmanager
    def answering(adapter: Path) -> Iterator[Any]:
        assert adapter == ADAPTER
        yield answer

    def answer(sample: Sample) -> str:
        return "" if sample.text in ("1", "7") else str(sample.answer)

    monkeypatch.setattr(answers, "_answering", lambda setup, settings: answering)
    recipe = Recipe(("a",), base="base", samples=(str(samples),))
    measured = make(name, recipe)
    assert measured.splits == ("tuning", "held-out")
    assert dict(measured.scores(ADAPTER, "tuning")) == {"vqa": pytest.approx(75)}
    assert dict(measured.scores(ADAPTER, "held-out")) == {"vqa": pytest.approx(100)}


def test_the_laptop_benchmark_is_a_measure(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    expert = root / "experts" / "shared-0" / "sqa"
    measured = make(f"mini:root={root},items=1,test=2", Recipe(("a",)))
    assert measured.tasks == tuple(SEEN)
    scores = dict(measured.scores(expert, "tuning"))
    assert scores.keys() == set(SEEN)
    assert all(0 <= score <= 100 for score in scores.values())
    held_out = next(measured.scores(expert, "held-out"))
    assert held_out[0] == SEEN[0]
    assert measured.facts["items"] == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mini", "no folder of a trained benchmark"),
        ("mini:root=x,items=0", "no number of items"),
        ("mini:root=x,size=3", "unknown setting"),
        ("mini:root=nowhere", "no trained base"),
        ("exact-match", "needs samples"),
        ("bleu", "unknown measure"),
    ],
)
def test_impossible_measures_are_refused(text: str, problem: str) -> None:
    with pytest.raises(MergeError, match=problem):
        make(text, Recipe(("a",), base="base"))
