"""The demo, from an artifact to a page, on a model that knows nothing."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import robustmerge
from bench_factories.untrained_world import make_root
from robustmerge_bench.mini.artifact import pack
from robustmerge_bench.mini.tasks import SEEN, TASKS

DEMO = Path(__file__).parents[2] / "demo"
pytestmark = pytest.mark.skipif(not DEMO.is_dir(), reason="a source package has no examples")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    return pack(make_root(folder / "root"), folder / "artifact", made_by={"seed": 7}).folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """The demo's module, imported as `python bench/demo/run.py` does."""
    monkeypatch.syspath_prepend(DEMO)
    yield importlib.import_module("run")
    for name in ("run", "answers", "texts", "page"):
        sys.modules.pop(name, None)


def test_from_artifact_to_page(  # type: ignore[no-untyped-def]
    run, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    few = ["--items", "2", "--processes", "1", "--methods", "average", "ties"]
    run.main(["--artifact", str(artifact), "--out", str(out), *few, "--scale", "norm-matched"])
    names = ["average, norm-matched", "ties, norm-matched"]
    record = json.loads((out / "results.json").read_text())
    assert record["artifact"] == {"seed": 7}
    assert list(record["scores"])[-2:] == names
    assert set(record["scores"][names[0]]) == set(TASKS)
    assert set(record["scores"]["expert, own task"]) == set(SEEN)
    for name in names:
        merged = robustmerge.load(out / "merged" / name.replace(", ", "-"))
        assert merged.modules
        merged.close()
    page = (out / "index.html").read_text()
    assert page.count("<article>") == 12
    assert page.count('class="example"') == 24
    printed = capsys.readouterr()
    assert (out / "index.html").as_uri() in printed.out
    assert "--method ties --scale norm-matched" in printed.err


def test_a_damaged_artifact_is_named_and_nothing_is_written(  # type: ignore[no-untyped-def]
    run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run.main(["--artifact", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert stopped.value.code == 1
    assert "manifest.json" in capsys.readouterr().err.replace("\n", "")
    assert not (tmp_path / "out").exists()


def test_methods_and_scale(run) -> None:  # type: ignore[no-untyped-def]
    assert run.select_merges([], None, None) == run.MERGES
    assert [m.name for m in run.select_merges(["ties", "wudi", "ties"], "0.5", None)] == [
        "ties, 0.5",
        "wudi, 0.5",
    ]
    assert {merge.rank for merge in run.select_merges([], None, "3")} == {"3"}
    every = [merge.method for merge in run.select_merges(["every"], None, None)]
    assert {"robustmerge", "tsv-m", "wudi"} <= set(every)
    assert not {"regmean", "fisher"} & set(every)
    assert len(run.select_merges([], "2", None)) == len({merge.method for merge in run.MERGES})


def made_up_answers(run, *scores: float, merged: tuple[str, ...]):  # type: ignore[no-untyped-def]
    """Results with one score for all questions of all tasks."""
    names = ("zero-shot", "experts", "joint training", *merged)
    return {
        name: {
            task: run.TaskAnswers(["cup"] * 4, np.full(4, score))
            for task in (SEEN if name == "experts" else TASKS)
        }
        for name, score in zip(names, scores, strict=True)
    }


def test_the_finding_says_what_the_scores_say(run) -> None:  # type: ignore[no-untyped-def]
    answers = made_up_answers(run, 40.0, 90.0, 85.0, 55.0, 65.0, merged=("ties", "wudi"))
    lines = run.texts.score_rows(answers, ["ties", "wudi"])
    assert [line.name for line in lines if line.best] == ["wudi"]
    first, second, third = run.texts.findings(lines, answers, 4)
    assert "wudi, reaches 65.0, 50% of the way" in first  # (65 - 40) / (90 - 40)
    assert "reaches 85.0" in first
    assert "scores 40.0, that merge 65.0" in second
    assert "ties, 10.0 points behind" in third
    assert "more than chance" in third


def test_experts_that_gain_nothing_leave_no_share(run) -> None:  # type: ignore[no-untyped-def]
    answers = made_up_answers(run, 40.0, 40.0, 40.0, 40.0, 40.0, merged=("ties", "wudi"))
    lines = run.texts.score_rows(answers, ["ties", "wudi"])
    first, _, third = run.texts.findings(lines, answers, 4)
    assert "of the way" not in first
    assert "no more than chance" in third


def test_the_examples_are_the_first_questions(run) -> None:  # type: ignore[no-untyped-def]
    merged = ("robustmerge", "ties", "wudi")
    answers = made_up_answers(run, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, merged=merged)
    lines = run.texts.score_rows(answers, merged)
    shown = run.texts.examples(answers, lines, seed=5)
    for name, task in TASKS.items():
        prompts = [example.item.prompt for example in shown[name]]
        assert prompts == [item.prompt for item in task.items("test", 3, 5)]
        expert = ["its expert"] if task.seen else []
        names = [answer.name for answer in shown[name][0].answers]
        assert names == ["zero-shot", *expert, "robustmerge", "wudi"]


def test_the_table_fits_a_terminal(run) -> None:  # type: ignore[no-untyped-def]
    merged = ("task-arithmetic, norm-matched",)
    answers = made_up_answers(run, 0.0, 100.0, 100.0, 100.0, merged=merged)
    lines = run.texts.score_rows(answers, merged)
    console = Console(width=80, record=True)
    with console.capture() as captured:
        console.print(run.score_table(lines))
    text = captured.get()
    for column in (*TASKS, "seen", "unseen"):
        assert f" {column}" in text
    assert "…" not in text
    assert text.count("100.0") >= 3
