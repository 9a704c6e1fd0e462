"""`merge … --polish`: what it needs, what it writes and what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import robustmerge
from factories.bases import lines, llava, write_image
from factories.families import _quiet, attach, build, not_landed, save_adapter
from faults.refuse import command, tree
from robustmerge.cli.app import run
from robustmerge.engine.polishing import PolishSettings, parse_polish
from robustmerge.errors import MergeError

CONNECTOR = ["multi_modal_projector.linear_1"]


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with _quiet():
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A LLaVA with two adapters, one fully trained matrix in each, and six prompts for each."""
    root = tmp_path_factory.mktemp("polish")
    llava(root / "base")
    for seed, name in enumerate(("vqa", "ocr"), 1):
        save_adapter("llava", root / name, seed=seed, rank=2, modules_to_save=CONNECTOR)
        write_image(root / f"{name}.png", seed)
        rows = [{"prompt": f"w{seed} w{n} w6", "image": f"{name}.png"} for n in range(10, 16)]
        lines(root / f"{name}.jsonl", rows)
    return root


def merge(root: Path, output: Path, polish: int | str | None, **options: Any) -> Any:
    settings: dict[str, Any] = {
        "method": "task-arithmetic",
        "base": root / "base",
        "samples": [root / "vqa.jsonl", root / "ocr.jsonl"],
        "polish": polish,
    }
    return robustmerge.merge([root / "vqa", root / "ocr"], output, **(settings | options))


def test_the_record_says_what_was_done(root: Path, tmp_path: Path) -> None:
    report = merge(root, tmp_path / "out", "8:rate=0.01,longest=4")
    merge(root, tmp_path / "plain", None, samples=())
    done = json.loads((tmp_path / "out" / "merge.json").read_text())
    entry = done["polish"]
    assert done["recipe"]["polish"] == "8:rate=0.01,longest=4"
    assert (entry["steps"], entry["rate"], entry["longest"], entry["batch"]) == (8, 0.01, 4, 16)
    assert entry["kept"] > 0
    assert [(t["prompts"], t["held_out"]) for t in entry["tasks"]] == [(5, 1), (5, 1)]
    before, after = (sum(t[k] for t in entry["tasks"]) for k in ("before", "after"))
    assert after < before
    assert entry["held_out_divergence"]["0"] == pytest.approx(before / 2, abs=1e-4)
    best = entry["held_out_divergence"][str(entry["kept"])]
    assert best == pytest.approx(after / 2, abs=1e-4)
    assert report.polished.record["kept"] == entry["kept"]

    files = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("out", "plain")]
    assert files[0].keys() == files[1].keys()
    for name, tensor in files[0].items():  # fully trained parameters stay as they were merged
        assert torch.equal(tensor, files[1][name]) == (".lora_" not in name)
        assert tensor.dtype == files[1][name].dtype
    model = attach(build("llava"), tmp_path / "out")
    assert not not_landed(model, tmp_path / "out")
    assert "polished by" in (tmp_path / "out" / "README.md").read_text()
    assert "polish" not in json.loads((tmp_path / "plain" / "merge.json").read_text())


def test_the_same_seed_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        merge(root, tmp_path / name, "3:rate=0.01,longest=2,batch=4", seed=seed, dtype="bfloat16")
    one, two, three = (
        (tmp_path / name / "adapter_model.safetensors").read_bytes()
        for name in ("one", "two", "three")
    )
    assert one == two != three


def test_no_step_that_helps_leaves_the_merge_as_it_is(root: Path, tmp_path: Path) -> None:
    report = merge(root, tmp_path / "out", "4:rate=1,longest=2")
    merge(root, tmp_path / "plain", None)
    assert report.polished.record["kept"] == 0
    assert any("as it is" in warning for warning in report.warnings)
    one, two = (
        (tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("out", "plain")
    )
    assert one == two


@pytest.mark.parametrize("start", ["task-arithmetic", "scratch"])
def test_distill_is_a_method(root: Path, tmp_path: Path, start: str) -> None:
    options = {"steps": 8, "rate": 0.02, "longest": 4, "start": start}
    merge(root, tmp_path / "out", None, method="distill", **options)
    record = json.loads((tmp_path / "out" / "merge.json").read_text())
    entry = record["distill"]
    assert record["parameters"]["start"] == start
    assert entry["kept"] > 0
    before, after = (sum(t[k] for t in entry["tasks"]) for k in ("before", "after"))
    assert after < before
    if start == "scratch":  # the base, but for fully trained parameters
        updates = [t for n, t in load_file(tmp_path / "out" / "adapter_model.safetensors").items()]
        assert all(t.isfinite().all() for t in updates)
    else:  # the same as polishing after it
        merge(root, tmp_path / "two", "8:rate=0.02,longest=4", scale="norm-matched")
        other = json.loads((tmp_path / "two" / "merge.json").read_text())["polish"]
        for one, two in zip(entry["tasks"], other["tasks"], strict=True):
            assert one["after"] == pytest.approx(two["after"], rel=1e-2)


def test_distill_with_what_it_has_no_use_for(root: Path, tmp_path: Path) -> None:
    for options in ({"work": tmp_path / "work"}, {"polish": 3}, {"scale": "mean"}):
        with pytest.raises(MergeError, match="does not go with"):
            merge(root, tmp_path / "out", **({"polish": None, "method": "distill"} | options))


def arguments(root: Path, output: Path, *more: str) -> list[str]:
    return ["merge", str(root / "vqa"), str(root / "ocr"), "-o", str(output), *more]


def test_the_command(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = ["--samples", str(root / "vqa.jsonl"), str(root / "ocr.jsonl")]
    base = ["--base", str(root / "base"), "-m", "average"]
    settings = "3:rate=0.01,longest=2"
    assert run(arguments(root, tmp_path / "out", *base, *samples, "--polish", settings)) == 0
    shown = " ".join(capsys.readouterr().out.split())  # columns break lines
    assert "polished 3 steps, of which the " in shown
    assert "on 1 held-out prompts" in shown


BASE, SAMPLES = ["--base", "BASE"], ["--samples", "vqa.jsonl", "ocr.jsonl"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (SAMPLES, ["polishing runs the base model", "--base MODEL"]),
        (BASE, ["0 files of samples for 2 adapters", "one file of JSON lines per adapter"]),
        ([*BASE, *SAMPLES[:2]], ["1 files of samples for 2 adapters"]),
        ([*BASE, *SAMPLES, "--weights", "2,-1"], ["weights [2.0, -1.0]", "weights from 0 on"]),
        ([*BASE, "--samples", "vqa.jsonl", "none.jsonl"], ["none.jsonl"]),
    ],
)
def test_what_is_missing_is_refused(
    root: Path, tmp_path: Path, options: Sequence[str], words: Sequence[str]
) -> None:
    named = {
        "BASE": root / "base",
        "vqa.jsonl": root / "vqa.jsonl",
        "ocr.jsonl": root / "ocr.jsonl",
    }
    before = tree(tmp_path)
    more = ["--polish", "3", *(str(named.get(o, o)) for o in options)]
    code, text = command(*arguments(root, tmp_path / "out", *more))
    assert code
    for word in words:
        assert word in text
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0", "steps"),
        ("many", "steps"),
        ("3:pace=1", "unknown parameter of polish 'pace'"),
        ("3:rate=2", "rate"),
        ("3:steps=4", "steps come first"),
        (True, "no number of steps"),
    ],
)
def test_impossible_settings_are_refused(text: Any, words: str, root: Path, tmp_path: Path) -> None:
    with pytest.raises(MergeError) as error:
        merge(root, tmp_path / "out", text)
    assert words in str(error.value)


def test_settings_are_read_and_the_rate_follows_the_rank() -> None:
    assert parse_polish(300) == PolishSettings(steps=300)
    read = parse_polish("20:held-out=0,recompute=true,precision=bfloat16")
    assert (read.steps, read.held_out, read.recompute) == (20, 0, True)
    assert [PolishSettings(steps=1).rate_at(r) for r in (1, 4)] == [1e-3, 1e-3]
    assert PolishSettings(steps=1).rate_at(32) == pytest.approx(2e-4)
    assert parse_polish("1:rate=0.5").rate_at(32) == 0.5


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"polish": "3:longest=4"}, "--polish 3:longest=4,precision=bfloat16,recompute=true, "),
        (
            {"polish": "3:longest=4,recompute=true"},
            "--polish 3:longest=4,recompute=true,precision=bfloat16, ",
        ),
        (
            {"polish": None, "method": "distill", "steps": 3},
            "--set precision=bfloat16, --set recompute=true, ",
        ),
    ],
)
def test_an_exhausted_memory_is_said_with_ways_out(
    options: dict[str, Any],
    hint: str,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        name = "robustmerge.polish.session.load_base"
        patched.setattr(name, lambda *_: torch.empty(1 << 58))
        with pytest.raises(MergeError, match="tried to allocate") as error:
            merge(root, tmp_path / "out", **options)
    assert (error.value.hint or "").startswith(hint + "smaller images")
    if options["polish"]:
        merge(root, tmp_path / "out", hint.removeprefix("--polish ").removesuffix(", "))
