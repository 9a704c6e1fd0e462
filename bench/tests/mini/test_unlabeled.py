"""Methods that need data: what they are given, and that they are given it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import robustmerge
from robustmerge_bench.item import Item
from robustmerge_bench.mini.runs.contender import Contender
from robustmerge_bench.mini.runs.examine import Examiner
from robustmerge_bench.mini.runs.folders import expert_sets
from robustmerge_bench.mini.runs.job import EvaluationJob
from robustmerge_bench.mini.runs.plan import Comparison, make_jobs
from robustmerge_bench.mini.runs.unlabeled import SAMPLES, collect_statistics
from robustmerge_bench.mini.runs.world import built_in
from robustmerge_bench.mini.tasks import SEEN, TASKS

ITEMS, SHOWN = 4, 2


def job(root: Path, method: str) -> EvaluationJob:
    study = Comparison((Contender(method),), ("full",), ("default",), ITEMS, SHOWN)
    return make_jobs(root, expert_sets(root, ["shared"], [0]), study, built_in())[-1]


def shown(task: str) -> list[Item]:
    return TASKS[task].items("validation", SHOWN)


def test_pictures_and_questions_are_given_and_no_answers(trained: Path, tmp_path: Path) -> None:
    experts = {task: trained / "experts" / "shared-0" / task for task in SEEN}
    items = {task: shown(task) for task in SEEN}
    output = collect_statistics(trained / "base", experts, items, ("gram",), tmp_path)
    for task in SEEN:
        folder = tmp_path / "samples" / task
        lines = [json.loads(line) for line in (folder / SAMPLES).read_text().splitlines()]
        assert [sorted(line) for line in lines] == [["image", "prompt"]] * SHOWN
        for line, item in zip(lines, items[task], strict=True):
            assert line["prompt"] == item.prompt
            np.testing.assert_array_equal(
                np.asarray(Image.open(folder / line["image"])), item.image
            )
    record = json.loads((output / "statistics.json").read_text())
    assert record["what"] == ["gram"]
    assert [one["samples"] for one in record["adapters"]] == [SHOWN] * len(SEEN)
    assert [Path(one["samples_file"]).parent.name for one in record["adapters"]] == list(SEEN)


def test_every_expert_sees_validation_items_of_its_own_task(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SeenError(Exception):
        pass

    def given(base: Path, experts: Mapping[str, Path], items: Mapping[str, list[Item]], *_: object):  # type: ignore[no-untyped-def]
        assert base == requested.base
        assert {task: folder.name for task, folder in experts.items()} == {t: t for t in SEEN}
        assert list(experts.values()) == list(requested.adapters)
        for task in SEEN:
            assert [i.prompt for i in items[task]] == [i.prompt for i in shown(task)]
        raise SeenError

    monkeypatch.setattr("robustmerge_bench.mini.runs.unlabeled.collect_statistics", given)
    requested = job(trained, "regmean")
    with pytest.raises(SeenError):
        Examiner(built_in(), requested.base).examine(requested)


@pytest.mark.parametrize("method", ["regmean", "fisher"])
def test_a_run_merges_with_them(trained: Path, tmp_path: Path, method: str) -> None:
    requested = job(trained, method)
    assert requested.unlabeled == SHOWN
    world = built_in()
    result = Examiner(world, requested.base).examine(requested)
    assert result.seconds["statistics"] > 0

    experts = dict(zip(SEEN, requested.adapters, strict=True))
    what = Contender(method).statistics
    data = collect_statistics(
        requested.base, experts, {t: shown(t) for t in SEEN}, what, tmp_path / "data"
    )
    output = tmp_path / "merged"
    robustmerge.merge(
        requested.adapters, output, method=method, rank="full", extras="mean", data=data
    )
    mini = world.model(requested.base)
    with mini.using(output):
        for task, scores in result.scores.items():
            items = TASKS[task].items("test", ITEMS)
            np.testing.assert_array_equal(scores, TASKS[task].score(mini.answer(items), items))


def test_results_of_other_methods_keep_their_names(trained: Path) -> None:
    plain = job(trained, "ties")
    assert plain.unlabeled == 0
    assert "unlabeled" not in plain.facts()
    assert job(trained, "regmean").facts()["unlabeled"] == SHOWN


@pytest.mark.parametrize(
    "text", ["relay:prompts=2,held_out=1", "ties+polish:steps=5,prompts=2,held_out=1"]
)
def test_what_runs_the_model_gets_the_base_and_samples_of_every_task(
    trained: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    class SeenError(Exception):
        pass

    def merged(adapters: object, output: Path, **options: object) -> None:
        assert list(adapters) == list(requested.adapters)  # type: ignore[call-overload]
        assert options["polish"] == ("5:held_out=1,prompts=2" if "polish" in text else None)
        assert options["base"] == requested.base
        files = options["samples"]
        assert isinstance(files, list)
        assert [file.parent.name for file in files] == list(SEEN)
        for task, file in zip(SEEN, files, strict=True):
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            items = TASKS[task].items("validation", 3)
            assert [row["prompt"] for row in rows] == [item.prompt for item in items]
            assert not any("answer" in row for row in rows)
        raise SeenError

    monkeypatch.setattr("robustmerge_bench.mini.runs.examine.merge", merged)
    study = Comparison((Contender.parse(text),), ("input",), ("default",), ITEMS, SHOWN)
    requested = make_jobs(trained, expert_sets(trained, ["shared"], [0]), study, built_in())[-1]
    assert requested.unlabeled == 3
    with pytest.raises(SeenError):
        Examiner(built_in(), requested.base).examine(requested)
