"""`robustmerge bench run` as a user runs it, killed and started again among other things."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench_factories.question_files import fill
from bench_factories.tiny_models import save
from factories.families import save_adapter
from robustmerge.cli.app import run
from robustmerge_bench.paper.answering import run as running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folder")
    fill(root / "data", ("scienceqa", "vqav2"), n=5)
    save("llava", root / "llava")
    save_adapter("llava", root / "adapter", seed=5)
    return root


def arguments(folder: Path, out: str, *more: str) -> list[str]:
    paths = {"base": "llava", "adapter": "adapter", "data": "data", "output": out}
    options = [part for k, v in paths.items() for part in (f"--{k}", str(folder / v))]
    settings = ["--device", "cpu", "--max-new-tokens", "3", "--batch", "1"]
    return ["bench", "run", *options, *settings, *(more or ("--tasks", "vqav2"))]


def test_answers_and_what_to_do_next(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments(folder, "a", "--tasks", "scienceqa,vqav2", "--limit", "4")) == 0
    reported = capsys.readouterr()
    assert f"4 answers in {folder / 'a' / 'scienceqa.jsonl'}" in reported.out
    assert f"4 answers in {folder / 'a' / 'vqav2.jsonl'}" in reported.out
    assert "next: robustmerge bench score --task scienceqa" in reported.out
    assert f"--questions {folder}/data/instructions/ScienceQA/test.json" in reported.out
    assert reported.err.splitlines()[0] == "scienceqa: 0 of 4"
    assert reported.err.splitlines()[-1] == "vqav2: 4 of 4"
    assert json.loads((folder / "a" / "run.json").read_text())["settings"]["limit"] == 4


def test_mistakes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments(folder, "b", "--tasks", "scienceq")) == 1
    assert "did you mean scienceqa?" in capsys.readouterr().err
    assert run(arguments(folder, "b", "--tasks", "tabmwp")) == 1
    assert "no test.json of TabMWP" in capsys.readouterr().err
    assert run(arguments(folder, "b", "--tasks", "vqav2", "--engine", "server")) == 1
    assert "--url" in capsys.readouterr().err
    assert run(arguments(folder, "b", "--tasks", "vqav2", "--dtype", "float8")) == 2
    assert not (folder / "b").exists()


def test_an_interrupt(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "open_engine", interrupted)
    assert run(arguments(folder, "c")) == 130
    assert "the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["transformers", "peft", "PIL"])
def test_a_library_that_is_not_there(
    folder: Path, library: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.startswith("robustmerge_bench.paper.answering.eng")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("robustmerge.collect.load", "robustmerge_bench.paper.answering.images"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    assert run(arguments(folder, "d")) == 1
    assert f"needs {library}, which is not installed" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_killed_and_started_again(folder: Path) -> None:
    """The command itself, by SIGKILL, as soon as there are some answers."""
    fill(folder / "many", ("vqav2",), n=60)
    command = [sys.executable, "-m", "robustmerge", *arguments(folder, "e", "--tasks", "vqav2")]
    command[command.index(str(folder / "data"))] = str(folder / "many")
    whole = [str(folder / "whole") if part == str(folder / "e") else part for part in command]
    subprocess.run(whole, check=True, capture_output=True)
    file = folder / "e" / "vqav2.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        while not (file.exists() and file.stat().st_size):
            assert child.poll() is None
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    wanted = (folder / "whole" / "vqav2.jsonl").read_bytes()
    assert 0 < file.stat().st_size < len(wanted)
    subprocess.run(command, check=True, capture_output=True)
    assert file.read_bytes() == wanted
