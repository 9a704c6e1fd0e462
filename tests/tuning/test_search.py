"""A search begins at the closed-form values, goes on where it was, and writes what it found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

import robustmerge
from factories.adapters import deltas, trio
from robustmerge.engine.recipe import Recipe
from robustmerge.errors import MergeError
from robustmerge.scale_rules import scale_rules
from robustmerge.tuning import objective
from robustmerge.tuning.report import TuneReport
from robustmerge.tuning.run import tune_recipe
from robustmerge.tuning.search import STUDY, SearchSettings

WANTED = {"tuning": 30.0, "held-out": 33.0}
"""The norms of the first module at which the two tasks of `Norms` score best."""


class Norms:
    """Two tasks: how near the norm of the first module is to a wanted one, and to its half."""

    tasks = ("whole", "half")
    splits = ("tuning", "held-out")
    facts: Mapping[str, Any] = {"measure": "norms"}

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing: set[int] = set()

    def scores(self, adapter: Path, split: Any) -> Iterator[tuple[str, float]]:
        norm = float(next(iter(deltas(adapter).values())).norm())
        for task, wanted in (("whole", WANTED[split]), ("half", WANTED[split] / 2)):
            self.calls.append(task)
            if len(self.calls) in self.failing:
                raise MergeError("the scorer broke", where=task)
            yield task, -abs(norm - wanted)


@pytest.fixture
def norms(monkeypatch: pytest.MonkeyPatch) -> Norms:
    made = Norms()
    known = objective.NamedObjective("norms", "", lambda setup: made)
    monkeypatch.setitem(objective.OBJECTIVES, "norms", known)
    return made


def tune(root: Path, trials: int, **options: Any) -> TuneReport:
    settings = {k: options.pop(k) for k in ("pooling", "minimize", "prune") if k in options}
    recipe = Recipe(tuple(map(str, (root / name for name in "abc"))), **options.pop("recipe", {}))
    made = SearchSettings(trials=trials, **settings)
    return tune_recipe(recipe, root / "out", measure="norms", settings=made, **options)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    trio(tmp_path)
    return tmp_path


def test_it_begins_at_the_scale_as_it_is_and_at_all_rules(root: Path, norms: Norms) -> None:
    report = tune(root, 5, search=["scale"], recipe={"method": "ties", "scale": 0.7})
    drawn = [trial["values"]["scale"] for trial in report.trials]
    factors = []
    for rule in (rule for rule in scale_rules() if not rule.of_inputs):
        merge = robustmerge.merge(
            [root / name for name in "abc"], root / rule.name, method="ties", scale=rule.name
        )
        factors.append(float(f"{merge.modules[0].scale:.4g}"))
    assert drawn[:2] == [0.7, 1.0]
    distinct: list[float] = []
    for factor in [0.7, 1.0, *factors]:
        if all(abs(factor - other) > 0.01 * other for other in distinct):
            distinct.append(factor)
    assert drawn == distinct[:5]
    assert [trial["start"] for trial in report.trials] == [0, 1, 2, 3, 4]
    assert report.spent["merges"] == 2  # the last for the held-out score at the start
    assert report.spent["rescaled"] == 5


def test_the_best_is_written_as_recipe_and_merge(root: Path, norms: Norms) -> None:
    report = tune(root, 12, search=["scale", "projections"], recipe={"method": "average"})
    values = [trial["value"] for trial in report.trials if trial["value"] is not None]
    assert report.best is not None
    assert report.trial(report.best)["value"] == max(values)
    assert report.curve == tuple(running_best(report.trials))
    out = root / "out"
    assert {file.name for file in out.iterdir()} == {
        *("tune.json", "study.db", "recipe.yaml", "merged"),
    }
    recipe, output = Recipe.load(out / "recipe.yaml")
    assert output == str(out / "merged")
    robustmerge.merge(
        recipe.adapters, root / "plain", method=recipe.method, scale=recipe.scale
    )  # the recipe's file alone is tested by the command
    assert yaml.safe_load((out / "recipe.yaml").read_text())["adapters"][0] == str(root / "a")
    record = json.loads((out / "tune.json").read_text())
    assert record["best"] == report.best
    assert record["held_out"]["best"].keys() == {"whole", "half"}
    norm = float(next(iter(deltas(out / "merged").values())).norm())
    assert record["held_out"]["best"]["whole"] == pytest.approx(-abs(norm - 33.0))


def test_a_best_that_is_the_start_has_its_held_out_score(root: Path, norms: Norms) -> None:
    report = tune(root, 1, search=["scale"], recipe={"method": "average", "dtype": "float16"})
    assert report.best == report.start
    assert report.held_out == report.held_out_start


def running_best(trials: Any) -> Iterator[tuple[int, float]]:
    best = -float("inf")
    for trial in trials:
        if trial["value"] is not None and trial["value"] > best:
            best = trial["value"]
            yield trial["number"], best


@pytest.mark.parametrize("pooling", ["mean", "worst"])
def test_tasks_are_pooled(root: Path, norms: Norms, pooling: str) -> None:
    report = tune(root, 3, search=["scale"], pooling=pooling)
    for trial in report.trials:
        whole, half = trial["scores"]["whole"], trial["scores"]["half"]
        wanted = (whole + half) / 2 if pooling == "mean" else min(whole, half)
        assert trial["value"] == pytest.approx(wanted)


def test_worst_is_the_largest_where_smaller_is_better(root: Path, norms: Norms) -> None:
    report = tune(root, 4, search=["scale"], pooling="worst", minimize=True)
    for trial in report.trials:
        assert trial["value"] == max(trial["scores"].values())
    assert report.best is not None
    assert report.trial(report.best)["value"] == min(t["value"] for t in report.trials)


def test_a_stopped_search_goes_on(root: Path, norms: Norms) -> None:
    def stop(report: TuneReport, number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(root, 8, search=["scale", "weights"], ended=stop)
    record = json.loads((root / "out" / "tune.json").read_text())
    assert len(record["trials"]) == 4
    calls = len(norms.calls)
    report = tune(root, 8, search=["scale", "weights"])
    assert [trial["number"] for trial in report.trials] == list(range(8))
    assert [trial["values"] for trial in report.trials[:4]] == [
        trial["values"] for trial in record["trials"]
    ]
    assert len(norms.calls) - calls <= 2 * 4 + 4  # four trials, and held-out twice
    assert report.held_out
    again = tune(root, 8, search=["scale", "weights"])
    assert again.best == report.best


def test_a_search_of_something_else_is_not_mixed_in(root: Path, norms: Norms) -> None:
    tune(root, 1, search=["scale"])
    with pytest.raises(MergeError, match="something else: other search"):
        tune(root, 2, search=["weights"])
    with pytest.raises(MergeError, match="other recipe"):
        tune(root, 2, search=["scale"], recipe={"rank": "full"})
    (root / "taken").mkdir()
    (root / "taken" / "mine.txt").write_text("mine")
    with pytest.raises(MergeError, match="is no search"):
        tune_recipe(Recipe((str(root / "a"),)), root / "taken", measure="norms")
    assert [file.name for file in (root / "taken").iterdir()] == ["mine.txt"]


def test_failed_trials_are_kept_and_the_search_goes_on(root: Path, norms: Norms) -> None:
    norms.failing = {4}  # the second task of the second trial
    report = tune(root, 5, search=["scale"])
    failed = report.trial(1)
    assert failed["state"] == "fail"
    assert "the scorer broke" in failed["failure"]
    assert [t["state"] for t in report.trials].count("complete") == 4


def test_a_scorer_that_does_not_work_at_all_is_an_error(root: Path, norms: Norms) -> None:
    norms.failing = {1}
    with pytest.raises(MergeError, match="the scorer broke"):
        tune(root, 5, search=["scale"])
    norms.failing = set()
    report = tune(root, 5, search=["scale"])  # the starting value is tried again
    assert report.trial(report.start)["start"] == 0
    assert report.trial(report.start)["values"]["scale"] == 1.0


def test_a_starting_value_that_failed_is_tried_again(root: Path, norms: Norms) -> None:
    search, recipe = ["method:ties"], {"method": "average"}
    starts = [t.get("start") for t in tune(root, 2, search=search, recipe=recipe).trials]
    assert starts == [0, 1]
    (root / "out").rename(root / "earlier")
    norms.calls.clear()
    norms.failing = {4}  # the second task of the second starting value
    tune(root, 2, search=search, recipe=recipe)
    report = tune(root, 4, search=search, recipe=recipe)
    states = [trial["state"] for trial in report.trials if trial.get("start") == 1]
    assert states == ["fail", "complete"]


def test_trials_below_the_median_end_early_but_not_the_first(root: Path, norms: Norms) -> None:
    report = tune(root, 12, search=["scale:0.01..100"])
    pruned = [trial for trial in report.trials if trial["state"] == "pruned"]
    assert pruned
    assert all(trial["scores"].keys() == {"whole"} for trial in pruned)
    assert all("start" not in trial for trial in pruned)
    norms.calls.clear()
    (root / "out").rename(root / "earlier")
    whole = tune(root, 12, search=["scale:0.01..100"], prune=False)
    assert not [trial for trial in whole.trials if trial["state"] == "pruned"]


def test_starting_values_never_end_early(root: Path, norms: Norms) -> None:
    others = "ties,magmax,tsv-m,iso-c,emr-unified,model-stock,wudi,robustmerge,sce,breadcrumbs"
    report = tune(root, 11, search=[f"method:{others}"], recipe={"method": "average"})
    starts = [trial for trial in report.trials if "start" in trial]
    assert len(starts) == 11
    assert {trial["state"] for trial in starts} == {"complete"}


def test_the_same_values_are_scored_once(root: Path, norms: Norms) -> None:
    report = tune(root, 6, search=["method:ties"], recipe={"method": "average"})
    same = [trial for trial in report.trials if "same as" in trial]
    assert len(same) == 4
    assert len(norms.calls) == 2 * 2 + 2 * 2  # two methods, held-out of two merges


def test_methods_and_their_parameters_are_searched(root: Path, norms: Norms) -> None:
    report = tune(
        root,
        10,
        search=["method:ties,tsv-m", "parameters"],
        recipe={"method": "svd-cut", "parameters": {}},
    )
    starts = [trial for trial in report.trials if "start" in trial]
    assert [trial["values"]["method"] for trial in starts] == ["svd-cut", "ties", "tsv-m"]
    assert starts[1]["values"]["ties.density"] == 0.2
    assert {name.partition(".")[0] for t in report.trials for name in t["values"]} >= {
        *("method", "svd-cut", "ties", "tsv-m"),
    }


def test_impossible_searches_are_refused(root: Path, norms: Norms) -> None:
    for search, problem in (
        (["size"], "unknown axis"),
        ([], "searched once"),
        (["scale", "scale:1..2"], "searched once"),
        (["scale:2..1"], "not a range"),
        (["method:tiez"], "did you mean|unknown method"),
        (["parameters:dencity"], "unknown parameter"),
    ):
        with pytest.raises(MergeError, match=problem):
            tune(root, 2, search=search, recipe={"method": "ties"})
    with pytest.raises(MergeError, match="is the rule mean"):
        tune(root, 2, search=["projections"], recipe={"scale": "mean"})
    with pytest.raises(MergeError, match="0 trials"):
        tune(root, 0, search=["scale"])


def test_trials_of_other_processes_count(root: Path, norms: Norms) -> None:
    url = f"sqlite:///{root / 'shared.db'}"

    def ended(report: TuneReport, number: int) -> None:
        if number:
            return
        study = optuna.load_study(study_name=STUDY, storage=url)
        for scale in (2.5, 3.5):
            trial = optuna.trial.create_trial(
                params={"scale": scale},
                distributions={"scale": optuna.distributions.FloatDistribution(0.1, 10, log=True)},
                value=-1e9,
                user_attrs={"scores": {"whole": -1e9, "half": -1e9}},
            )
            study.add_trial(trial)

    report = tune(root, 5, search=["scale:0.1..10"], storage=url, ended=ended)
    assert [trial["state"] for trial in report.trials].count("complete") == 5
