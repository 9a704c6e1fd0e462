"""`robustmerge bench mini` as a user runs it, in the scripted world."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from bench_factories.scripted_world import WORLD, trained
from robustmerge.cli.app import run
from robustmerge_bench.cli.screen import duration

Capture = pytest.CaptureFixture[str]
RUN = ("bench", "mini", "run")


@pytest.fixture(autouse=True)
def scripted_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustmerge_bench.mini.runs.world.built_in", lambda: WORLD)


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    root = trained(tmp_path / "root", ["shared-0", "shared-1", "independent-0"])
    return ["--root", str(root), "--out", str(tmp_path / "out")]


def test_run_table_and_gates(folders: list[str], tmp_path: Path, capsys: Capture) -> None:
    options = ["--items", "40", "--validation", "10", "--jobs", "1"]
    methods = ["--methods", "ties:density=0.5,space=delta,task-arithmetic,tsv-m", "--scale", "all"]
    assert run([*RUN, *folders, *options, *methods]) == 0
    printed = capsys.readouterr()
    assert "next: robustmerge bench mini table" in printed.out
    assert "23 models to examine" in printed.err
    assert "[22/23] shared-0 task-arithmetic sweep input" in printed.err
    assert "23 done, 0 were there" in printed.err
    assert len(list((tmp_path / "out").iterdir())) == 23

    assert run([*RUN, *folders, *options, *methods]) == 0
    assert "0 done, 23 were there" in capsys.readouterr().err

    assert run(["bench", "mini", "table", *folders[2:]]) == 0
    text = capsys.readouterr().out
    assert "## Experts: shared, seeds 0" in text
    assert "### Scale geometric, rank input" in text
    assert "| ties:density=0.5,space=delta |" in text
    assert run(["bench", "mini", "table", *folders[2:], "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["shared"]["sections"]) == 6

    assert run(["bench", "mini", "gates", *folders]) == 1
    text = capsys.readouterr().out
    assert "experts: shared" in text
    assert text.count("FAILED") >= 1
    assert text.count("FAILED") + text.count("passed") == 8
    assert run(["bench", "mini", "gates", *folders, "--json"]) == 1
    result = json.loads(capsys.readouterr().out)["shared"]
    sizes = next(gate for gate in result if "size" in gate["name"])
    assert sizes["measured"].count("%") == 2


def test_gates_that_are_all_open(
    folders: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--methods", "average", "--items", "10", "--jobs", "1"]
    assert run([*RUN, *folders, *options]) == 0
    from robustmerge_bench.mini.ranking.gates import Gate

    open_gate = Gate("a gate", "much", "more", True)
    monkeypatch.setattr(
        "robustmerge_bench.mini.ranking.gates.check_gates", lambda *_, **__: [open_gate]
    )
    assert run(["bench", "mini", "gates", *folders]) == 0


def test_seeds_initializations_and_ranks(
    folders: list[str], tmp_path: Path, capsys: Capture
) -> None:
    options = ["--methods", "average", "--items", "10", "--jobs", "1"]
    assert run([*RUN, *folders, *options, "--seeds", "0,1", "--rank", "both", "--matrix"]) == 0
    names = sorted(p.name.rpartition(".json")[0][:-11] for p in (tmp_path / "out").iterdir())
    assert [name for name in names if "average" in name] == [
        f"shared-{seed}-average-default-{rank}" for seed in (0, 1) for rank in ("full", "input")
    ]
    assert run([*RUN, *folders, *options, "--init", "both"]) == 0
    assert "independent-0 average default input" in capsys.readouterr().err
    assert run(["bench", "mini", "table", *folders[2:]]) == 0
    text = capsys.readouterr().out
    assert "## Experts: shared, seeds 0, 1" in text
    assert "## Experts: independent, seeds 0" in text
    assert "### Every expert on every task" in text


def test_without_methods_every_one_and_a_word_on_data(
    folders: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(jobs, *_, **__):  # type: ignore[no-untyped-def]
        raise KeyboardInterrupt

    monkeypatch.setattr("robustmerge_bench.mini.runs.examine.evaluate", stop)
    assert run([*RUN, *folders]) == 130
    printed = capsys.readouterr().err
    assert (
        "esm, fisher, output-fit, … and 2 more need data, and are given 100 validation items of "
        "each seen task" in printed
    )
    assert "what is done is kept" in printed
    assert "nothing was written" not in printed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methods", "tiess"], "did you mean ties?"),
        (["--seeds", "0,x"], "--seeds 0,1,2"),
        (["--seeds", "7"], "there are independent-0, shared-0, shared-1"),
        (["--items", "0"], "--items 1 or more"),
        (["--validation", "0"], "--validation 1 or more"),
        (["--jobs", "0"], "0 jobs at once"),
        (["--frozen"], "no experts shared-0-frozen"),
    ],
)
def test_wrong_options(folders: list[str], options: list[str], words: str, capsys: Capture) -> None:
    assert run([*RUN, *folders, "--methods", "average", *options]) == 1
    assert words in capsys.readouterr().err


def test_a_failed_job_is_told_at_the_end(folders: list[str], capsys: Capture) -> None:
    root = Path(folders[1])
    path = root / "experts" / "shared-0" / "rec" / "adapter_model.safetensors"
    save_file({name: tensor / 0 for name, tensor in load_file(path).items()}, path)
    options = ["--methods", "average,task-arithmetic", "--items", "10", "--jobs", "1"]
    assert run([*RUN, *folders, *options]) == 1
    printed = capsys.readouterr().err
    # The scripted model cannot compare NaN.
    assert "shared-0 expert rec: failed: ValueError" in printed
    assert "3 of 7 jobs failed: shared-0 expert rec, shared-0 average default input, " in printed
    assert "the same command again" in printed
    assert len(list((root.parent / "out").iterdir())) == 4


def test_no_results_yet(tmp_path: Path, capsys: Capture) -> None:
    assert run(["bench", "mini", "table", "--out", str(tmp_path)]) == 1
    assert "no results" in capsys.readouterr().err


def test_durations_are_readable() -> None:
    assert [duration(s) for s in (5.2, 89.0, 120.0, 5399.0, 7260.0)] == [
        "5 s",
        "89 s",
        "2 min",
        "1 h 30 min",
        "2 h 01 min",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--root", "{}"],
        ["pack", "--root", "{}", "-o", "{}/packed"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_missing_library_is_named_with_the_extra_that_has_it(
    arguments: list[str], tmp_path: Path
) -> None:
    command = ["bench", "mini", *(a.format(tmp_path) for a in arguments)]
    code = (
        "import sys\nsys.modules['transformers'] = None\n"
        f"from robustmerge.cli.app import run\nsys.exit(run({command!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs transformers" in done.stderr
    assert "pip install 'robustmerge-bench'" in done.stderr
