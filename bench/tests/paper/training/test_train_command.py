"""`robustmerge bench train`, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench_factories.conversations import entry, write
from robustmerge.cli.app import run
from robustmerge_bench.paper.training import session
from robustmerge_bench.paper.training.conversations import Source

QUICK = ["--rank", "2", "--batch", "4", "--learning-rate", "0.003", "--device", "cpu"]


def test_a_file_of_conversations(
    llava: Path, source: Source, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--base", str(llava), "--conversations", str(source.path), "-o", str(out)]
    assert run(["bench", "train", *arguments, *QUICK, "--task", "mine"]) == 0
    printed, told = capfd.readouterr()
    assert "step 1 of 2: loss 5." in told
    assert "step 2 of 2: loss 5." in told
    assert "left" in told.splitlines()[0]
    assert "left" not in told.splitlines()[1]
    words = " ".join(printed.split())
    assert "task mine" in words
    assert "data mine: 7 records" in words
    assert "seen 7 in 2 steps" in words
    assert "A shared" in words
    assert f"next: robustmerge check {out} --base {llava}" in words


def test_tasks_under_a_root_as_json(
    llava: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for folder in ("ScienceQA", "REC"):
        write(
            tmp_path / "data/Seen_data" / folder / "train.json",
            [entry(folder, "A")] * 4,
        )
    arguments = ["--base", str(llava), "--task", "scienceqa,rec", "--data", str(tmp_path / "data")]
    more = ["-o", str(tmp_path / "out"), "--projector", "frozen", "--init", "independent", "--json"]
    assert run(["bench", "train", *arguments, *more, *QUICK]) == 0
    record = json.loads(capfd.readouterr().out)
    assert record["output_folder"] == str(tmp_path / "out")
    assert record["task"] == "scienceqa+rec"
    assert record["recipe"]["init"] == "independent"
    assert record["recipe"]["projector"] == "frozen"
    assert [one["file"].split("/")[-2] for one in record["data"]] == ["ScienceQA", "REC"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "nothing to train on"),
        (["--task", "rec"], "nothing to train on"),
        (["--task", "rec", "--data", "D", "--conversations", "F"], "are both given"),
        (["--task", "rec", "--data", "D", "--images", "F"], "--images belongs to --conversations"),
        (["--task", "recc", "--data", "D"], "did you mean rec?"),
        (["--conversations", "F"], "cannot read the file"),
        (["--conversations", "F", "--rank", "0"], "--rank 0"),
        (["--conversations", "F", "--device-batch", "0"], "--device-batch 0"),
    ],
)
def test_wrong_usage_is_explained(
    llava: Path,
    tmp_path: Path,
    arguments: list[str],
    problem: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = ["--base", str(llava), "-o", str(tmp_path / "out")]
    assert run(["bench", "train", *out, *arguments]) == 1
    assert problem in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_interrupt_says_how_to_go_on(
    llava: Path,
    source: Source,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(session.ExpertTrainer, "train", interrupted)
    arguments = [
        "--base",
        str(llava),
        "--conversations",
        str(source.path),
        "-o",
        str(tmp_path / "out"),
    ]
    assert run(["bench", "train", *arguments, *QUICK]) == 130
    assert "the same command goes on from the last checkpoint" in capfd.readouterr().err
