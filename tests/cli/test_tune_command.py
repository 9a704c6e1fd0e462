"""`robustmerge tune` as a user runs it, with a program of the user's own that scores."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import robustmerge
from factories.adapters import deltas, trio
from robustmerge import MergeError
from robustmerge.cli.app import run
from robustmerge.engine.recipe import Recipe

Capture = pytest.CaptureFixture[str]
WANTED = 3.0
EVALUATION = """
import json, struct, sys

data = open(sys.argv[1] + "/adapter_model.safetensors", "rb").read()
length = struct.unpack("<Q", data[:8])[0]
names = json.loads(data[8 : 8 + length])
total = 0.0
for name, entry in names.items():
    if "lora_B" in name:
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        total += sum(x * x for (x,) in struct.iter_unpack("<f", data[begin:end]))
print("norm", total**0.5)
print("score:", -abs(total**0.5 - WANTED))
""".replace("WANTED", str(WANTED))
"""Scores the norm of all B; best at `WANTED`. It does without numpy, which takes a second."""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    trio(Path())
    Path("my_eval.py").write_text(EVALUATION)


def tune(*arguments: str, output: str = "out") -> int:
    score = f"{sys.executable} -S my_eval.py {{adapter}}"
    return run(["tune", "a", "b", "c", "-o", output, "--score", score, *arguments])


def test_from_a_command_to_recipe_and_merge(capsys: Capture) -> None:
    assert tune("--search", "scale", "--trials", "5", "--method", "ties") == 0
    shown = capsys.readouterr()
    assert "5 complete, 0 ended early, 0 failed" in shown.out
    assert shown.err.count("trial ") == 5
    assert "better than it will be elsewhere" in shown.out  # no held-out part
    record = json.loads(Path("out/tune.json").read_text())
    values = [trial["value"] for trial in record["trials"]]
    assert max(values) == values[record["best"]] > values[record["start"]]

    assert run(["merge", "out/recipe.yaml", "-o", "again"]) == 0
    wanted, merged = deltas(Path("again")), deltas(Path("out/merged"))
    assert all((wanted[name] == merged[name]).all() for name in wanted | merged)
    recipe, _ = Recipe.load(Path("out/recipe.yaml"))
    assert recipe.method == "ties"
    assert recipe.scale == record["trials"][record["best"]]["values"]["scale"]


def test_the_same_command_goes_on(capsys: Capture) -> None:
    assert tune("--search", "scale", "--trials", "2") == 0
    capsys.readouterr()
    assert tune("--search", "scale", "--trials", "4", "--json") == 0
    shown = capsys.readouterr()
    assert shown.err.count("trial ") == 2
    assert len(json.loads(shown.out)["trials"]) == 4


def test_python_does_the_same() -> None:
    score = f"{sys.executable} -S my_eval.py {{adapter}}"
    report = robustmerge.tune(
        ["a", "b", "c"], "out", score=score, search=["scale"], trials=2, method="average"
    )
    assert report.best is not None
    assert Path("out/merged/adapter_model.safetensors").is_file()


def test_one_measure_is_needed(capsys: Capture) -> None:
    for arguments in (
        ["tune", "a", "-o", "out"],
        ["tune", "a", "-o", "out", "--score", "x {adapter}", "--measure", "agreement"],
    ):
        assert run(arguments) == 1
        assert "one measure is needed" in capsys.readouterr().err
    assert run(["tune", "a", "-o", "out", "--measure", "nonsense"]) == 1
    assert "unknown measure" in capsys.readouterr().err
    assert not Path("out").exists()


def test_without_optuna_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    real = builtins.__import__

    def imported(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "optuna":
            raise ModuleNotFoundError("No module named 'optuna'", name="optuna")
        return real(name, *rest)

    for module in list(sys.modules):
        if module.startswith("robustmerge.tuning"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", imported)
    assert tune() == 1
    assert "robustmerge[tune]" in capsys.readouterr().err
    with pytest.raises(MergeError, match=r"robustmerge\[tune\]"):
        robustmerge.tune(["a"], "out", score="x {adapter}")
