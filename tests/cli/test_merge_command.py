"""`robustmerge merge` and `robustmerge methods` as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from factories.adapters import adapter, deltas, trio
from robustmerge import methods, steps
from robustmerge.cli.app import run

Capture = pytest.CaptureFixture[str]


def test_merge_prints_a_short_table(tmp_path: Path, capsys: Capture) -> None:
    assert run(["merge", *trio(tmp_path), "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "robustmerge" in out
    assert "energy kept" in out
    assert "next: robustmerge check" in out


def test_options_reach_the_recipe(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    arguments = [
        *("merge", *trio(tmp_path), "-o", str(out), "--json", "--method", "robustmerge"),
        *("--set", "density=0.5", "--set", "gain-A=1.5", "--weights", "1,2,0.5"),
        *("--scale", "0.7", "--rank", "6", "--dtype", "float16", "--seed", "3", "--workers", "1"),
    ]
    assert run(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["output_folder"] == str(out)
    recipe = printed["recipe"]
    assert recipe["parameters"] == {"density": "0.5", "gain_A": "1.5"}
    assert printed["parameters"]["density"] == 0.5
    assert (recipe["weights"], recipe["scale"]) == ([1, 2, 0.5], 0.7)
    assert (printed["output"]["rank"], printed["output"]["dtype"]) == (6, "F16")
    assert recipe["seed"] == 3


def test_a_recipe_file_and_options_over_it(tmp_path: Path) -> None:
    trio(tmp_path)
    recipe = tmp_path / "r.yaml"
    plain = {"adapters": ["a", "b", "c"], "method": "task-arithmetic", "output": "out"}
    recipe.write_text(yaml.safe_dump(plain))
    assert run(["merge", str(recipe)]) == 0
    assert run(["merge", str(recipe), "--scale", "2", "-o", str(tmp_path / "twice")]) == 0
    one, two = deltas(tmp_path / "out"), deltas(tmp_path / "twice")
    for name, tensor in one.items():
        assert (two[name] - 2 * tensor).norm() < 1e-5 * tensor.norm()


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: Capture) -> None:
    sources = trio(tmp_path)
    assert run(["merge", *sources, "-o", str(tmp_path / "out"), "--dry-run"]) == 0
    assert "dry run" in capsys.readouterr().out
    assert run(["merge", *sources, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["modules"] == 6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "robustmrge", "-o", "out"], "did you mean robustmerge?"),
        (["--set", "rigde=1", "-o", "out"], "did you mean ridge?"),
        (["--set", "crosstalk=2", "-o", "out"], "it is float > 0 and <= 1"),
        (["--set", "gain-A=2", "-o", "out"], "it is a parameter of robustmerge"),
        (["--set", "density", "-o", "out"], "name=value"),
        (["--weights", "1,x", "-o", "out"], "--weights 1,1,0.5"),
        (["--weights", "1,1", "-o", "out"], "2 weights for 3 adapters"),
        (["--rank", "big", "-o", "out"], "input, full, a number"),
        (["--device", "tpu", "-o", "out"], "no device 'tpu'"),
        (["--workers", "0", "-o", "out"], "0 workers"),
        ([], "no output"),
    ],
)
def test_users_errors_exit_1_without_a_traceback(
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["merge", *trio(tmp_path), *arguments]) == 1
    printed = capsys.readouterr()
    assert words in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]


def test_wrong_usage_exits_2(capsys: Capture) -> None:
    assert run(["merge", "a", "--metod", "ties"]) == 2
    assert "--method" in capsys.readouterr().err
    assert run(["merge", "a", "--dtype", "int8"]) == 2
    assert run(["mrge"]) == 2


def test_methods_lists_all_and_shows_one(capsys: Capture) -> None:
    assert run(["methods"]) == 0
    listed = capsys.readouterr().out
    assert all(m.name in listed for m in methods.every())
    assert run(["methods", "robustmerge"]) == 0
    page = capsys.readouterr().out
    assert "gain_A" in page
    assert "arXiv:2502.17159" in page
    assert run(["methods", "--json"]) == 0
    names = [page["name"] for page in json.loads(capsys.readouterr().out)]
    every = (*methods.every(), *methods.with_model(), *steps.every())
    assert sorted(names) == sorted(x.name for x in every)
    assert run(["methods", "pico"]) == 0
    both = capsys.readouterr().out
    assert "give the sum their mean norm" in both
    assert "before any merge" in both
    assert run(["methods"]) == 0
    assert "Steps before a merge" in capsys.readouterr().out
    assert run(["methods", "robustmrge"]) == 1


def test_the_catalogue_in_the_docs_is_current(capsys: Capture) -> None:
    assert run(["methods", "--markdown"]) == 0
    written = Path(__file__).parents[2] / "docs" / "methods.md"
    assert capsys.readouterr().out == written.read_text(), "run `make docs`"


def test_results_go_to_stdout_and_progress_to_stderr(tmp_path: Path) -> None:
    source = adapter(tmp_path / "a")
    command = [
        sys.executable,
        "-m",
        "robustmerge",
        "merge",
        str(source),
        "-o",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, check=True, env=os.environ
    )
    assert json.loads(done.stdout)["output"]["rank"] == 4
