"""Adapters and folders that are refused: the message, and its advice followed to the letter."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from factories.adapters import LLM, adapter, deltas
from robustmerge import MergeError, merge
from robustmerge.adapter.reader import Adapter
from robustmerge.checks.contents import Contents
from robustmerge.cli.app import run

EXACT: dict[str, Any] = {"method": "task-arithmetic", "rank": "full"}
CONV = "model.visual.patch_embed.proj"


def refused(source: Path) -> MergeError:
    with pytest.raises(MergeError) as caught:
        Adapter(source)
    return caught.value


def same_updates(first: Path, second: Path) -> bool:
    one, two = deltas(first), deltas(second)
    return one.keys() == two.keys() and all(torch.allclose(one[n], two[n]) for n in one)


# modelscope/ms-swift #4697, #9187: settings of the trainer in adapter_config.json


@pytest.mark.parametrize(
    "settings",
    [
        {"lorap_lr_ratio": 16.0, "lorap_emb_lr": 1e-6, "swift_type": "LORA"},
        {"lora_dtype": "bfloat16", "model_key_mapping": {"a": "b"}},
        {"loraplus_lr_ratio": 16.0, "loraplus_lr_embedding": 1e-6},
    ],
    ids=str,
)
def test_settings_of_the_optimizer_change_nothing(settings: Any, tmp_path: Path) -> None:
    plain, tuned = adapter(tmp_path / "a"), adapter(tmp_path / "b", **settings)
    merge([plain], tmp_path / "plain", **EXACT)
    merge([tuned], tmp_path / "tuned", **EXACT)
    weights = "adapter_model.safetensors"
    assert (tmp_path / "plain" / weights).read_bytes() == (
        tmp_path / "tuned" / weights
    ).read_bytes()


def test_all_unknown_settings_are_named_at_once_and_accepted_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = adapter(Path("a"), swift_version="4.6", lora_router=3, zeta=[1])
    error = refused(folder)
    for text in ("swift_version = '4.6'", "lora_router = 3", "zeta = [1]"):
        assert text in error.problem
    options = re.findall(r"--accept-setting \w+", error.hint)
    assert len(options) == 3
    words = shlex.split(" ".join(options))
    assert run(["merge", "a", "-o", "out", "-m", "task-arithmetic", *words]) == 0
    assert same_updates(adapter(Path("plain")), Path("out"))
    assert json.loads(Path("out/merge.json").read_text())["recipe"]["accept_settings"]
    assert run(["show", "out"]) == 0


@pytest.mark.parametrize("field", ["use_dora", "use_qa_lora"])
def test_known_settings_cannot_be_accepted_away(field: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", **{field: True})
    with pytest.raises(MergeError, match=f"{field} is set, which is not plain LoRA"):
        merge([folder], tmp_path / "out", accept_settings=field)


def test_a_setting_that_no_adapter_has_is_a_slip(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", lora_router=3)
    with pytest.raises(MergeError, match="unknown setting") as caught:
        merge([folder], tmp_path / "out", accept_settings=["lora_router", "lora_routr"])
    assert "did you mean lora_router?" in caught.value.hint


# huggingface/peft #2586: one convolution refuses a whole adapter


def with_convolution(folder: Path) -> Path:
    """A patch embedding of kernel 2 on 3 channels, as PEFT saves LoRA on it."""
    factors = {f"{CONV}.lora_A.weight": torch.ones(4, 3, 2, 2)}
    factors[f"{CONV}.lora_B.weight"] = torch.ones(8, 4, 1, 1)
    return adapter(folder, extras=factors)


def test_a_convolution_may_be_left_out(tmp_path: Path) -> None:
    folder = with_convolution(tmp_path / "a")
    report = merge([folder], tmp_path / "out", leave_out=CONV, **EXACT)
    assert same_updates(adapter(tmp_path / "plain"), tmp_path / "out")
    # ‖2 · 1 1ᵀ‖² of the convolution, with alpha / r = 2 and a rank-4 product of ones
    lost = 4.0 * 16 * 8 * 12
    left = sum(float(d.square().sum()) for d in deltas(tmp_path / "out").values())
    share = lost / (lost + left)
    assert report.record()["left_out"] == [
        {"modules": 1, "parameters": 0, "share": pytest.approx(share)}
    ]
    assert any(f"1 modules with {share:.1%}" in warning for warning in report.warnings)


def test_left_out_parameters_and_modules_are_counted(tmp_path: Path) -> None:
    projector = {"model.multi_modal_projector.linear_1.weight": torch.ones(3, 2)}
    folder = adapter(tmp_path / "a", extras=projector)
    patterns = ["*projector*", "*.layers.0.*"]
    report = merge([folder], tmp_path / "out", leave_out=patterns, **EXACT)
    (loss,) = report.record()["left_out"]
    assert (loss["modules"], loss["parameters"]) == (len(LLM) // 2, 1)
    assert 0 < loss["share"] < 1
    assert not any("layers.0" in name for name in deltas(tmp_path / "out"))


def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="no module or parameter matches 'vision_tower'"):
        merge([adapter(tmp_path / "a")], tmp_path / "out", leave_out="vision_tower")


# hiyouga/LLaMA-Factory #9399 and others: the wrong folder


def empty(folder: Path) -> None:
    folder.mkdir()


def run_folder(folder: Path) -> None:
    for step in (200, 1000, 600):
        adapter(folder / f"checkpoint-{step}")


def whole_model(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"model.embed_tokens.weight": torch.ones(2, 2)}, folder / "model.safetensors")


def without_settings(folder: Path) -> None:
    (adapter(folder, rank=3) / "adapter_config.json").unlink()


def settings_above(folder: Path) -> None:
    shutil.move(adapter(folder) / "adapter_config.json", folder.parent)


def other_name(folder: Path) -> None:
    adapter(folder)
    (folder / "adapter_model.safetensors").rename(folder / "model.safetensors")


def text_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").touch()


@pytest.mark.parametrize(
    ("make", "problem", "hint"),
    [
        (empty, "the folder is empty", "check the path"),
        (run_folder, "checkpoint-200, checkpoint-600, checkpoint-1000", "a/checkpoint-1000"),
        (whole_model, "holds a whole model", "--base"),
        (without_settings, "no adapter_config.json next to adapter_model", '"r": 3,'),
        (settings_above, "no adapter_config.json next to adapter_model", "copy it next to them"),
        (other_name, "next to model.safetensors", "rename it to adapter_model.safetensors"),
        (text_alone, "the folder holds notes.txt", "save_pretrained"),
    ],
)
def test_a_folder_that_is_no_adapter_is_answered_from_what_is_in_it(
    make: Callable[[Path], None], problem: str, hint: str, tmp_path: Path
) -> None:
    make(tmp_path / "a")
    error = refused(tmp_path / "a")
    assert problem in error.problem
    assert hint in error.hint
    assert str(tmp_path / "a") in error.where
    contents = Contents.open(tmp_path / "a")
    assert [str(each) for each in contents.refusals] == [str(error)]
    contents.close()


def test_the_advice_for_a_runs_folder_names_an_adapter(tmp_path: Path) -> None:
    run_folder(tmp_path / "a")
    Adapter(refused(tmp_path / "a").hint.rpartition(" ")[2]).close()


def test_the_advice_for_an_adapter_under_another_name_works(tmp_path: Path) -> None:
    other_name(tmp_path / "a")
    (tmp_path / "a/model.safetensors").rename(tmp_path / "a/adapter_model.safetensors")
    Adapter(tmp_path / "a").close()


def test_the_advice_for_missing_settings_works(tmp_path: Path) -> None:
    without_settings(tmp_path / "a")
    match = re.search(r"\{.*\}", refused(tmp_path / "a").hint)
    assert match
    text = match[0].replace("ALPHA", "8").replace(", …", "")
    (tmp_path / "a/adapter_config.json").write_text(text)
    Adapter(tmp_path / "a").close()


# Patterns and variables that the shell has not expanded


PLACES = {
    "an adapter": "merge {} -o out",
    "an adapter to show": "show {}",
    "an adapter to check": "check {}",
    "an adapter to convert": "convert {} -o out",
    "a base": "diagnose a b --base {}",
    "statistics": "merge a b -m regmean --data {} -o out",
    "a plugin": "merge a b --plugin {} -o out",
    "samples": "collect a b --base base --samples {} {} -o out",
}
PATTERNS = {
    "all/*": "the shell found nothing for this pattern",
    "gone-?": "the shell found nothing for this pattern",
    "[ab]": "a pattern in quotes is not expanded by the shell; name a, b",
    "{a,b}": "the shell found nothing for this pattern",
    "$RUNS/vqa": "not in single quotes",
    "~nobody-of-this-name/vqa": "there is no such user",
}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("place", PLACES)
def test_what_the_shell_has_not_expanded(
    place: str,
    pattern: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        adapter(Path(name), seed=seed)
    if pattern == "[ab]" and place == "samples":
        pattern = "*/adapter_model.safetensors"
    run(PLACES[place].replace("{}", pattern).split())
    shown = capsys.readouterr()
    wanted = PATTERNS.get(pattern, "name a/adapter_model.safetensors, b/adapter_model.safetensors")
    assert wanted in " ".join((shown.out + shown.err).split())
    assert not Path("out").exists()
