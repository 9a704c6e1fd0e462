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
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("place")
    fill(root / "data", ("scienceqa", "vqav2"), n=5)
    save("llava", root / "llava")
    save_adapter("llava", root / "adapter", seed=5)
    return root


def arguments(place: Path, out: str, *more: str) -> list[str]:
    paths = {"base": "llava", "adapter": "adapter", "data": "data", "output": out}
    given = [part for k, v in paths.items() for part in (f"--{k}", str(place / v))]
    settings = ["--device", "cpu", "--max-new-tokens", "3", "--batch", "1"]
    return ["bench", "run", *given, *settings, *(more or ("--tasks", "vqav2"))]


def test_answers_and_what_to_do_next(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments(place, "a", "--tasks", "scienceqa,vqav2", "--limit", "4")) == 0
    told = capsys.readouterr()
    assert f"4 answers in {place / 'a' / 'scienceqa.jsonl'}" in told.out
    assert f"4 answers in {place / 'a' / 'vqav2.jsonl'}" in told.out
    assert "next: robustmerge bench score --task scienceqa" in told.out
    assert f"--questions {place}/data/instructions/ScienceQA/test.json" in told.out
    assert told.err.splitlines()[0] == "scienceqa: 0 of 4"
    assert told.err.splitlines()[-1] == "vqav2: 4 of 4"
    assert json.loads((place / "a" / "run.json").read_text())["settings"]["limit"] == 4


def test_mistakes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments(place, "b", "--tasks", "scienceq")) == 1
    assert "did you mean scienceqa?" in capsys.readouterr().err
    assert run(arguments(place, "b", "--tasks", "tabmwp")) == 1
    assert "no test.json of TabMWP" in capsys.readouterr().err
    assert run(arguments(place, "b", "--tasks", "vqav2", "--engine", "server")) == 1
    assert "--url" in capsys.readouterr().err
    assert run(arguments(place, "b", "--tasks", "vqav2", "--dtype", "float8")) == 2
    assert not (place / "b").exists()


def test_an_interrupt(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "open_engine", interrupted)
    assert run(arguments(place, "c")) == 130
    assert "the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["transformers", "peft", "PIL"])
def test_a_library_that_is_not_there(
    place: Path, library: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.startswith("robustmerge_bench.paper.answering.eng")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("robustmerge.collect.load", "robustmerge_bench.paper.answering.images"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    assert run(arguments(place, "d")) == 1
    assert f"needs {library}, which is not installed" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_killed_and_started_again(place: Path) -> None:
    """The command itself, by SIGKILL, as soon as there are some answers."""
    fill(place / "many", ("vqav2",), n=60)
    command = [sys.executable, "-m", "robustmerge", *arguments(place, "e", "--tasks", "vqav2")]
    command[command.index(str(place / "data"))] = str(place / "many")
    whole = [str(place / "whole") if part == str(place / "e") else part for part in command]
    subprocess.run(whole, check=True, capture_output=True)
    file = place / "e" / "vqav2.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        while not (file.exists() and file.stat().st_size):
            assert child.poll() is None
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    wanted = (place / "whole" / "vqav2.jsonl").read_bytes()
    assert 0 < file.stat().st_size < len(wanted)
    subprocess.run(command, check=True, capture_output=True)
    assert file.read_bytes() == wanted
