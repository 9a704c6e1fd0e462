"""`robustmerge bench study` and `bench table` as a user runs them, on a tiny LLaVA."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from bench_factories.question_files import fill
from bench_factories.tiny_models import save
from factories.families import save_adapter
from robustmerge.cli.app import run
from robustmerge_bench.paper.data.predictions import read_predictions

Capture = pytest.CaptureFixture[str]
TASKS = ("vqav2", "rec", "scienceqa", "tabmwp")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    save("llava", folder / "base")
    problems = {
        str(100 + k): {"choices": ["a", "b"], "answer": 1, "split": "test"} for k in range(6)
    }
    location = fill(folder / "data", TASKS, n=6) / "instructions/ScienceQA"
    (location / "problems.json").write_text(json.dumps(problems))
    (location / "pid_splits.json").write_text(json.dumps({"test": list(problems)}))
    for seed, name in enumerate(("vqav2", "rec", "scienceqa")):
        save_adapter("llava", folder / "experts" / name, seed=seed)
    content = {
        "title": "A tiny study",
        "base": "base",
        "data": "data",
        "adapters": {name: f"experts/{name}" for name in ("vqav2", "rec", "scienceqa")},
        "methods": ["zero-shot", "individual", "robustmerge", {"joint": "./experts/rec"}],
        "tasks": list(TASKS),
        "answering": {"batch": 4, "max_new_tokens": 3, "device": "cpu"},
        "published": [
            {"source": "a paper", "columns": ["vqav2", "seen"], "rows": {"robustmerge": [1, 2]}}
        ],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def done(example: Path) -> Path:
    assert run(["bench", "study", str(example / "study.yaml"), "-o", str(example / "out")]) == 0
    return example


def test_a_study_from_the_beginning_to_its_tables(done: Path, capsys: Capture) -> None:
    file, out = str(done / "study.yaml"), str(done / "out")
    (merged,) = (done / "out/merged").iterdir()
    assert (merged / "adapter_model.safetensors").is_file()
    answers = sorted(path.name.rpartition("-")[0] for path in (done / "out/answers").iterdir())
    # The joint adapter is an expert here, and so has one folder with it.
    assert answers == [
        "individual-rec",
        "individual-scienceqa",
        "individual-vqav2",
        "robustmerge",
        "zero-shot",
    ]
    own = (done / "out/answers").glob("robustmerge-*/tabmwp.jsonl")
    assert len(read_predictions(next(own))) == 6

    assert run(["bench", "study", file, "-o", out]) == 0
    printed = capsys.readouterr()
    assert "6 models, 0 with something to do" in printed.err
    assert "0 done, 6 were there" in printed.err
    assert f"next: robustmerge bench table {out}" in printed.out

    assert run(["bench", "table", out]) == 0
    text = capsys.readouterr().out
    assert "# A tiny study" in text
    assert "## Scored by the released rules (official)" in text
    assert "## Scored by the corrected rules (fixed)" in text
    assert "*robustmerge, published* (a)" in text
    assert text.count("*robustmerge, published* (a)") == 2  # scores and averages, official only
    assert "### Differences: Seen tasks, the mean" in text


def test_one_protocol_and_other_formats(done: Path, tmp_path: Path, capsys: Capture) -> None:
    out = str(done / "out")
    assert run(["bench", "table", out, "--protocol", "fixed", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["protocols"].keys() == {"fixed"}
    assert [each["label"] for each in data["protocols"]["fixed"]["contenders"]] == [
        "zero-shot",
        "individual",
        "robustmerge",
        "joint",
    ]
    for name, start in (
        ("a/t.html", "<!doctype html>"),
        ("t.tex", "% A tiny study"),
        ("t.md", "# A"),
    ):
        assert run(["bench", "table", out, "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text().startswith(start)
        assert f"written to {tmp_path / name}" in capsys.readouterr().out
    assert run(["bench", "table", out, "-o", str(tmp_path / "t.txt")]) == 1
    assert "unknown ending '.txt'" in capsys.readouterr().err
    assert run(["bench", "table", str(tmp_path)]) == 1
    assert "no study.json in it" in capsys.readouterr().err


def test_a_plan_is_shown_and_nothing_done(example: Path, tmp_path: Path, capsys: Capture) -> None:
    file, out = str(example / "study.yaml"), tmp_path / "out"
    assert run(["bench", "study", file, "-o", str(out), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "robustmerge" in text
    assert "merge; answer vqav2, rec, scienceqa, tabmwp" in text
    assert "individual rec" in text
    assert not (out / "merged").exists()
    assert not (out / "answers").exists()


def test_a_trial_of_a_part(example: Path, tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "out")
    trial = ["--limit", "2", "--only", "robustmerge,seen"]
    assert run(["bench", "study", str(example / "study.yaml"), "-o", out, *trial]) == 0
    capsys.readouterr()
    assert run(["bench", "table", out, "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    contender = data["protocols"]["official"]["contenders"][2]
    assert {task: score["n"] for task, score in contender["tasks"].items()} == {
        "vqav2": 2,
        "rec": 2,
        "scienceqa": 2,
    }
    assert contender["missing"] == ["tabmwp"]


def test_what_fails_is_said_and_the_rest_is_done(
    done: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "out")
    picture = next((tmp_path / "data/datasets/TabMWP").rglob("*.png"))
    picture.write_bytes(b"no picture")
    command = ["bench", "study", str(tmp_path / "study.yaml"), "-o", str(tmp_path / "out")]
    only = ["--only", "zero-shot"]
    assert run([*command, *only]) == 1
    printed = capsys.readouterr().err
    assert "error: 1 of 1 jobs failed: zero-shot" in printed
    assert str(picture) in printed or picture.name in printed
    assert len(list((tmp_path / "out/scores").glob("*/*.json"))) == 6
    shutil.copyfile(next((done / "data/datasets/TabMWP").rglob("*.png")), picture)
    assert run([*command, *only]) == 0
    assert len(list((tmp_path / "out/scores").glob("*/*.json"))) == 8


def test_errors_of_usage(example: Path, tmp_path: Path, capsys: Capture) -> None:
    file = example / "study.yaml"
    assert run(["bench", "study", str(file)]) == 2
    command = ["bench", "study", str(file), "-o", str(tmp_path)]
    assert run([*command, "--only", "robustmerg"]) == 1
    assert "did you mean robustmerge?" in capsys.readouterr().err
    assert run([*command, "--data", str(tmp_path)]) == 1
    assert "no val.json of VQAv2" in capsys.readouterr().err
    assert run([*command, "--limit", "0"]) == 1
    assert "0 is less than 1" in capsys.readouterr().err


def test_a_plan_fetches_nothing(
    example: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = yaml.safe_load((example / "study.yaml").read_text())
    content["adapters"]["rec"] = "owner/on-the-hub"
    content["methods"] = ["zero-shot", "robustmerge"]
    content |= {"base": str(example / "base"), "data": str(example / "data")}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(content))
    requested: list[object] = []

    def offline(repo: str, **options: object) -> str:
        requested.append(options.get("local_files_only"))
        raise FileNotFoundError(repo)

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    assert run(["bench", "study", str(file), "-o", str(tmp_path / "out"), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "fetch its adapters" in text
    assert "answer vqav2" in text
    assert set(requested) == {True}
    assert run(["bench", "study", str(file), "-o", str(tmp_path / "out")]) == 1
    assert requested[-1] is None
    assert "cannot be fetched from the Hub" in capsys.readouterr().err


def test_changed_questions_are_asked_into_the_same_folder(
    done: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "data/instructions/TabMWP/test.json"
    questions = json.loads(path.read_text())
    path.write_text(json.dumps(questions[:4]))
    (folder,) = (tmp_path / "out/answers").glob("zero-shot-*")
    before = {file.name: file.read_text() for file in folder.glob("*.jsonl")}
    command = ["bench", "study", str(tmp_path / "study.yaml"), "-o", str(tmp_path / "out")]
    assert run([*command, "--only", "zero-shot"]) == 0
    assert "1 models, 1 with something to do" in capsys.readouterr().err
    after = {file.name: file.read_text() for file in folder.glob("*.jsonl")}
    assert len(after["tabmwp.jsonl"].splitlines()) == 4
    assert {k: v for k, v in after.items() if k != "tabmwp.jsonl"} == {
        k: v for k, v in before.items() if k != "tabmwp.jsonl"
    }
