"""Runs: what is done stays done, one change does one thing again, and nothing that fails or dies
takes anything else with it.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from bench_factories import studies
from bench_factories.studies import ScriptedTools, plan, run_again, run_study
from factories import adapters as make
from robustmerge.errors import MergeError
from robustmerge.files import sha256 as real
from robustmerge_bench.jobs.hashes import FileHashes
from robustmerge_bench.jobs.run import JobProgress
from robustmerge_bench.paper.score import Score
from robustmerge_bench.paper.study.file import Study
from robustmerge_bench.paper.study.plan import make_plan
from robustmerge_bench.paper.study.record import StudyRecord
from robustmerge_bench.paper.study.run import run


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = studies.write(tmp_path_factory.mktemp("example") / "study.yaml")
    outcome = run_study(file, ScriptedTools())
    assert (outcome.done, outcome.skipped, outcome.failures) == (5, 0, ())
    return file.parent


@pytest.fixture
def done(example: Path, tmp_path: Path) -> Path:
    """A study that was run."""
    shutil.copytree(example, tmp_path, dirs_exist_ok=True)
    return tmp_path / "study.yaml"


def test_everything_is_done_once(tmp_path: Path) -> None:
    file = studies.write(tmp_path / "study.yaml", protocols=["official", "fixed"])
    calls = run_again(file)
    merges = [call for call in calls if call.startswith("merge")]
    answers = [call for call in calls if call.startswith("answer")]
    assert merges == ["merge task-arithmetic", "merge ties"]
    assert answers == [
        *(f"answer zero-shot {task} 20" for task in ("vqav2", "rec", "tabmwp")),
        "answer individual-vqav2 vqav2 20",
        "answer individual-rec rec 20",
        *(f"answer task-arithmetic {task} 20" for task in ("vqav2", "rec", "tabmwp")),
        *(f"answer ties {task} 20" for task in ("vqav2", "rec", "tabmwp")),
    ]
    assert len(calls) == len(merges) + len(answers) + 2 * len(answers)
    assert run_again(file) == []


def test_the_folder_of_a_study(done: Path) -> None:
    out = done.parent / "out"
    assert {path.name for path in out.iterdir()} == {"merged", "answers", "scores", "study.json"}
    (ties,) = (out / "merged").glob("ties-*")
    assert (ties / "adapter_model.safetensors").is_file()
    record = StudyRecord.read(out)
    assert [each.label for each in record.contenders] == list(studies.LABELS)
    assert record.contenders[1].tasks == ("vqav2", "rec")
    assert record.contenders[3].how["method"] == "ties"
    assert record.scores["individual"].keys() == {"vqav2", "rec"}
    score = Score.read(out / record.scores["ties"]["tabmwp"]["official"])
    assert (score.task, score.n) == ("tabmwp", 20)


def methods(file: Path, *entries: object) -> None:
    studies.write(file, methods=list(entries))


def test_one_changed_method_is_done_again_alone(done: Path) -> None:
    density = {"label": "ties", "method": "ties", "parameters": {"density": 0.4}}
    methods(done, "zero-shot", "individual", "task-arithmetic", density)
    assert run_again(done) == [
        "merge ties",
        *(f"answer ties {task} 20" for task in ("vqav2", "rec", "tabmwp")),
        *(f"score ties {task} official" for task in ("vqav2", "rec", "tabmwp")),
    ]
    methods(done, *studies.LABELS)  # back again: it is all still there
    assert run_again(done) == []


def test_what_a_default_is_does_not_matter(done: Path) -> None:
    same = {"method": "ties", "parameters": {"density": 0.2, "space": "factor"}, "scale": 1}
    methods(done, "zero-shot", "individual", "task-arithmetic", same)
    assert run_again(done) == []


def test_a_label_or_an_order_is_no_change(done: Path) -> None:
    methods(done, {"label": "TIES", "method": "ties"}, "task-arithmetic", "individual", "zero-shot")
    assert run_again(done) == []
    assert StudyRecord.read(done.parent / "out").scores["TIES"].keys() == {"vqav2", "rec", "tabmwp"}


def test_one_changed_adapter_changes_what_it_is_in(done: Path) -> None:
    make.adapter(done.parent / "experts/rec", seed=77)
    calls = run_again(done)
    assert not [call for call in calls if "zero-shot" in call or "individual-vqav2" in call]
    assert "answer individual-rec rec 20" in calls
    assert {"merge ties", "merge task-arithmetic"} <= {*calls}


def test_an_adapter_that_was_moved_is_the_same(done: Path) -> None:
    shutil.move(done.parent / "experts", done.parent / "moved")
    adapters = {name: f"moved/{name}" for name in ("vqav2", "rec")}
    content = done.read_text().replace("experts/", "moved/")
    done.write_text(content)
    assert all(source in content for source in adapters.values())
    assert run_again(done) == []


def test_changed_questions_of_one_task_are_asked_again(done: Path) -> None:
    studies.data(done.parent / "data", ["rec"], n=25)
    labels = ("zero-shot", "individual-rec", "task-arithmetic", "ties")
    calls = run_again(done)
    assert sorted(calls) == sorted(
        [
            *(f"answer {label} rec 25" for label in labels),  # 25: none of the old answers is kept
            *(f"score {label} rec official" for label in labels),
        ]
    )


def test_changed_options_are_asked_again(done: Path) -> None:
    calls = run_again(done, determining={"dtype": "float16"})
    assert len([call for call in calls if call.startswith("answer")]) == 11
    assert not [call for call in calls if call.startswith("merge")]


def test_another_base_is_asked_again(done: Path) -> None:
    content = done.read_text()
    done.write_text(content.replace("owner/base", "owner/other"))
    calls = run_again(done)
    assert len([call for call in calls if call.startswith("answer")]) == 11


def test_a_base_in_a_folder_counts_by_its_contents(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text("{}")
    file = studies.write(tmp_path / "study.yaml", base="base", methods=["zero-shot"])
    assert len(run_again(file)) == 6
    assert run_again(file) == []
    (tmp_path / "base/config.json").write_text('{"a": 1}')
    assert len(run_again(file)) == 6


def test_one_more_protocol_is_only_scored(done: Path) -> None:
    studies.write(done, protocols=["official", "fixed"])
    calls = run_again(done)
    assert len(calls) == 11
    assert all(call.startswith("score") and call.endswith("fixed") for call in calls)


def test_answers_that_were_cut_off_are_completed(done: Path) -> None:
    (file,) = (done.parent / "out/answers").glob("ties-*/rec.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:5]))
    assert run_again(done) == ["answer ties rec 15"]  # the same: they have a score
    assert len(file.read_text().splitlines()) == 20


def test_a_score_that_was_removed_is_scored_again(done: Path) -> None:
    (file,) = (done.parent / "out/scores").glob("ties-*/rec-*.json")
    file.unlink()
    assert run_again(done) == ["score ties rec official"]


def test_a_merge_is_not_needed_once_it_has_answered(done: Path) -> None:
    shutil.rmtree(done.parent / "out/merged")
    assert run_again(done) == []


def test_only_what_is_named_is_run(tmp_path: Path) -> None:
    file = studies.write(tmp_path / "study.yaml")
    tools = ScriptedTools()
    run_study(file, tools, only=("ties", "rec"))
    assert tools.calls == ["merge ties", "answer ties rec 20", "score ties rec official"]
    # The record is of the whole study, and what is missing is missing.
    record = StudyRecord.read(tmp_path / "out")
    assert len(record.contenders) == 4
    assert record.scores["ties"].keys() == {"rec"}
    assert not record.scores["zero-shot"]


def test_what_is_not_run_may_be_missing(tmp_path: Path) -> None:
    file = studies.write(tmp_path / "study.yaml")
    shutil.rmtree(tmp_path / "data/tabmwp")
    shutil.rmtree(tmp_path / "experts/rec")
    tools = ScriptedTools()
    with pytest.raises(MergeError, match="no questions of TabMWP"):
        run_study(file, tools)
    with pytest.raises(MergeError, match="no such folder"):
        run_study(file, tools, only=("seen",))
    run_study(file, tools, only=("zero-shot", "seen"))
    assert len(tools.calls) == 4


def test_a_study_needs_data(tmp_path: Path) -> None:
    file = studies.write(tmp_path / "study.yaml", data=None)
    with pytest.raises(MergeError, match="names no data") as caught:
        plan(file, ScriptedTools())
    assert "--data FOLDER" in str(caught.value)


def test_one_task_that_fails_costs_no_other(tmp_path: Path) -> None:
    file = studies.write(tmp_path / "study.yaml")
    tools, steps = ScriptedTools(fail={"rec"}), []
    outcome = run(plan(file, tools), report=steps.append)
    assert (outcome.done, outcome.skipped) == (1, 0)
    assert [(failure.job.label, failure.part) for failure in outcome.failures] == [
        ("zero-shot", "rec"),
        ("individual rec", "rec"),
        ("task-arithmetic", "rec"),
        ("ties", "rec"),
    ]
    assert "score ties tabmwp official" in tools.calls
    assert any(isinstance(step, JobProgress) and "no image a.png" in step.failure for step in steps)
    error = str(outcome.error)
    assert "4 of 5 jobs failed: zero-shot, individual rec, task-arithmetic, … and 1 more" in error
    assert "no image a.png" in error
    record = StudyRecord.read(tmp_path / "out")
    assert "no image a.png" in record.failures["ties"]["rec"]
    # Fixed, the same command does what is left.
    assert sorted(run_again(file)) == sorted(
        f"{what} {label} rec {how}"
        for label in ("zero-shot", "individual-rec", "task-arithmetic", "ties")
        for what, how in (("answer", "20"), ("score", "official"))
    )
    assert StudyRecord.read(tmp_path / "out").failures == {}


def test_a_merge_that_fails_costs_no_other(tmp_path: Path) -> None:
    file = studies.write(
        tmp_path / "study.yaml", methods=[{"method": "regmean", "data": "none"}, "ties"]
    )
    tools = ScriptedTools()
    outcome = run_study(file, tools)
    assert [(failure.job.label, failure.part) for failure in outcome.failures] == [("regmean", "")]
    assert StudyRecord.read(tmp_path / "out").failures["regmean"].keys() == {""}
    assert "score ties tabmwp official" in tools.calls


def test_two_labels_of_one_merge_are_answered_once(tmp_path: Path) -> None:
    file = studies.write(
        tmp_path / "study.yaml", methods=["ties", {"label": "again", "method": "ties"}]
    )
    calls = run_again(file)
    assert calls.count("merge ties") == 1
    assert len(calls) == 7
    scores = StudyRecord.read(tmp_path / "out").scores
    assert scores["again"] == scores["ties"]


def test_a_merge_of_some_experts_is_another(tmp_path: Path) -> None:
    one = {"label": "one", "method": "ties", "adapters": ["rec"]}
    file = studies.write(tmp_path / "study.yaml", methods=["ties", one])
    assert run_again(file).count("merge ties") == 2


def test_a_damaged_record_of_answers_is_named(done: Path) -> None:
    (log,) = (done.parent / "out/answers").glob("ties-*/answers.json")
    log.write_text("[")
    with pytest.raises(MergeError, match="not the record of answers") as caught:
        run_study(done, ScriptedTools())
    assert str(log) in str(caught.value)


def test_a_damaged_study_json_is_named(done: Path) -> None:
    out = done.parent / "out"
    (out / "study.json").write_text('{"format": 9}')
    with pytest.raises(MergeError, match="not a study of format 1"):
        StudyRecord.read(out)
    with pytest.raises(MergeError, match=r"no study\.json in it"):
        StudyRecord.read(out / "merged")


def test_large_files_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = tmp_path / "large.bin", tmp_path / "small.bin"
    large.write_bytes(bytes(2 << 20))
    small.write_bytes(b"x")
    hashed: list[str] = []

    def count(path: Path) -> str:
        hashed.append(path.name)
        return real(path)

    monkeypatch.setattr("robustmerge_bench.jobs.hashes.sha256", count)
    first = FileHashes(tmp_path / "hashes.json")
    assert first.file(large) == first.file(large) == real(large)
    assert FileHashes(tmp_path / "hashes.json").file(large) == real(large)
    assert hashed == ["large.bin"]
    os.utime(
        large, (time.time() + 9, time.time() + 9)
    )  # written again, perhaps with other contents
    large.write_bytes(bytes(2 << 20)[:-1] + b"x")
    assert FileHashes(tmp_path / "hashes.json").file(large) == real(large)
    (tmp_path / "hashes.json").write_text("[broken")
    assert FileHashes(tmp_path / "hashes.json").file(large) == real(large)
    assert (tmp_path / "hashes.json").read_text() == "[broken"  # nothing of ours: it stays
    assert first.file(small) == first.file(small)
    assert hashed.count("small.bin") == 2


def test_what_failed_before_is_remembered_of_those_that_are_not_run(tmp_path: Path) -> None:
    file = studies.write(tmp_path / "study.yaml")
    run_study(file, ScriptedTools(fail={"rec"}), only=("ties",))
    run_study(file, ScriptedTools(), only=("zero-shot",))
    assert "no image a.png" in StudyRecord.read(tmp_path / "out").failures["ties"]["rec"]
    run_study(file, ScriptedTools(), only=("ties",))
    assert StudyRecord.read(tmp_path / "out").failures == {}


def test_a_plan_without_all_adapters(tmp_path: Path) -> None:
    file = studies.write(tmp_path / "study.yaml")
    shutil.rmtree(tmp_path / "experts/rec")
    study, out = Study.load(file), tmp_path / "out"
    result = make_plan(study, out, ScriptedTools(), whole=False)
    assert [model.label for model in result.models] == ["zero-shot"]
    assert result.labels == {*studies.LABELS}
