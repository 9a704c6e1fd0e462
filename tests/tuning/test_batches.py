"""Trials at once: the same search here and elsewhere, whichever trial ends first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from factories.adapters import deltas, trio
from robustmerge.cluster import RayEngine
from robustmerge.engine.recipe import Recipe
from robustmerge.errors import MergeError
from robustmerge.tuning import objective
from robustmerge.tuning.report import TuneReport
from robustmerge.tuning.run import tune_recipe
from robustmerge.tuning.search import SearchSettings


class Norm:
    """How near the norm of the first module is to 30; the n-th call may fail."""

    tasks = ("norm",)
    splits = ("tuning",)
    facts: Mapping[str, Any] = {"measure": "norm"}

    def __init__(self) -> None:
        self.calls, self.failing = 0, 0

    def scores(self, adapter: Path, split: Any) -> Iterator[tuple[str, float]]:
        self.calls += 1
        if self.calls == self.failing:
            raise MergeError("the scorer broke", where="norm")
        yield "norm", -abs(float(next(iter(deltas(adapter).values())).norm()) - 30)


class Backwards(RayEngine):
    """Another machine, on which the last job ends first."""

    @contextmanager
    def connected(self) -> Iterator[None]:
        yield

    def __call__(
        self, jobs: Sequence[Any], start: Callable[[], Callable[[Any], Any]], token: str = ""
    ) -> Iterator[tuple[Any, Any]]:
        worker: Any = start()
        with closing(worker.store):
            for job in reversed(jobs):
                yield job, worker(job)


@pytest.fixture
def norm(monkeypatch: pytest.MonkeyPatch) -> Norm:
    made = Norm()
    known = objective.NamedObjective("norm", "", lambda setup: made)
    monkeypatch.setitem(objective.OBJECTIVES, "norm", known)
    return made


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe(tuple(trio(tmp_path)), method="ties")


def tune(
    recipe: Recipe, out: Path, trials: int = 8, at_once: int = 3, **options: Any
) -> TuneReport:
    settings = SearchSettings(trials=trials, at_once=at_once, sampler=options.pop("sampler", "tpe"))
    search = options.pop("search", ("scale", "parameters:density"))
    return tune_recipe(recipe, out, search=search, measure="norm", settings=settings, **options)


def drawn(report: TuneReport) -> list[dict[str, Any]]:
    return [{k: v for k, v in trial.items() if k != "seconds"} for trial in report.trials]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_the_order_in_which_trials_end_does_not_matter(
    recipe: Recipe, norm: Norm, tmp_path: Path, sampler: str
) -> None:
    here = tune(recipe, tmp_path / "here", sampler=sampler)
    elsewhere = tune(recipe, tmp_path / "elsewhere", sampler=sampler, engine=Backwards())
    assert drawn(here) == drawn(elsewhere)
    assert [trial["number"] for trial in here.trials] == list(range(8))
    for file in ("recipe.yaml", "merged/adapter_model.safetensors"):
        texts = [(tmp_path / name / file).read_bytes() for name in ("here", "elsewhere")]
        assert texts[0] == texts[1]
    files = {file.name for file in (tmp_path / "elsewhere").iterdir()}
    assert files == {"tune.json", "study.db", "recipe.yaml", "merged"}
    assert elsewhere.spent["merges"] >= 2


def test_trials_that_are_drawn_together_differ(recipe: Recipe, norm: Norm, tmp_path: Path) -> None:
    report = tune(recipe, tmp_path / "out", trials=12, at_once=6)
    values = [json.dumps(trial["values"], sort_keys=True) for trial in report.trials]
    assert len(set(values)) == 12


def test_one_that_fails_is_kept_and_the_others_count(
    recipe: Recipe, norm: Norm, tmp_path: Path
) -> None:
    norm.failing = 5
    report = tune(recipe, tmp_path / "out", trials=7)
    assert [trial["state"] for trial in report.trials].count("fail") == 1
    assert "the scorer broke" in report.trial(4)["failure"]
    assert len(report.trials) == 7
    again = tune(recipe, tmp_path / "out", trials=9)
    assert [trial["state"] for trial in again.trials].count("complete") == 9


def test_a_measure_that_does_not_work_at_all_is_an_error(
    recipe: Recipe, norm: Norm, tmp_path: Path
) -> None:
    norm.failing = 1
    with pytest.raises(MergeError, match="the scorer broke"):
        tune(recipe, tmp_path / "out")


def test_equal_values_are_scored_once(recipe: Recipe, norm: Norm, tmp_path: Path) -> None:
    report = tune(recipe, tmp_path / "out", trials=6, search=("method:tsv-m",))
    assert norm.calls == 2
    assert sum("same as" in trial for trial in report.trials) == 4
    assert {trial["value"] for trial in report.trials if "same as" in trial} <= {
        trial["value"] for trial in report.trials if "same as" not in trial
    }


@pytest.mark.parametrize("engine", [None, Backwards()])
def test_less_than_two_at_once_need_no_cluster(
    recipe: Recipe, norm: Norm, tmp_path: Path, engine: RayEngine | None
) -> None:
    with pytest.raises(MergeError, match="trials at once"):
        tune(recipe, tmp_path / "out", at_once=0 if engine is None else 1, engine=engine)
    assert not (tmp_path / "out").exists()
