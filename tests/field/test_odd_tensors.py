"""Tensors that other tools put into an adapter, and settings that PEFT would not load."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from factories.adapters import LLM, adapter, deltas
from faults.refuse import command, refused_merge
from robustmerge import merge
from robustmerge.cli.app import run

WEIGHTS = "adapter_model.safetensors"
MODULE = next(iter(LLM))
HEAD = torch.ones(3, 2)

LEAVES = {
    "kohya's scaling": ("alpha", torch.tensor(8.0)),
    "a scaling of its own": ("scale", torch.ones(1)),
    "a trained bias": ("bias", torch.ones(24)),
    "LyCORIS's full difference": ("diff", torch.ones(24, 16)),
    "LyCORIS's bias": ("diff_b", torch.ones(24)),
    "DoRA of another tool": ("dora_scale", torch.ones(24)),
    "AdaLoRA's count": ("ranknum", torch.tensor(4.0)),
}


@pytest.mark.parametrize("case", LEAVES)
def test_a_tensor_next_to_the_factors(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merged as fully trained, its module was in modules_to_save, and PEFT lost its LoRA."""
    monkeypatch.chdir(tmp_path)
    leaf, tensor = LEAVES[case]
    adapter(Path("a"), extras={f"{MODULE}.{leaf}": tensor})
    error = refused_merge(tmp_path, ["a"], f"{leaf} next to the LoRA factors of {MODULE}")
    (option,) = re.findall(r"--leave-out '\S+'", error.hint)
    assert run(["merge", "a", "-o", "m", "-m", "task-arithmetic", *shlex.split(option)]) == 0
    adapter(Path("plain"))
    merge(["plain"], "n", method="task-arithmetic")
    assert Path("m", WEIGHTS).read_bytes() == Path("n", WEIGHTS).read_bytes()


COUNTERS = {
    "global_step": torch.tensor(8),
    "base_model.model.model.vision_tower.embeddings.position_ids": torch.arange(5)[None],
    "base_model.model.model.language_model.layers.0.quantized": torch.ones(4, dtype=torch.int8),
}


@pytest.mark.parametrize("name", COUNTERS)
def test_whole_numbers_may_be_left_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    adapter(Path("a"))
    save_file(load_file(Path("a", WEIGHTS)) | {name: COUNTERS[name]}, Path("a", WEIGHTS))
    error = refused_merge(tmp_path, ["a"], "tensor of type I")
    (option,) = re.findall(r"--leave-out '\S+'", error.hint)
    assert run(["merge", "a", "-o", "m", *shlex.split(option)]) == 0


@pytest.mark.parametrize("saved", ["", "modules_to_save.", "modules_to_save.default."])
def test_the_bases_copy_of_a_trained_module_is_no_trained_one(saved: str, tmp_path: Path) -> None:
    """A state dict of the whole PEFT model has both; the merge had them, too."""
    extras = {"lm_head.original_module.weight": HEAD, f"lm_head.{saved}weight": 2 * HEAD}
    folder = adapter(tmp_path / "a", extras=extras, modules_to_save=["lm_head"])
    report = merge([folder], tmp_path / "m", method="task-arithmetic")
    assert any("copies of the base's weights are left out" in text for text in report.warnings)
    head = {n: t for n, t in load_file(tmp_path / "m" / WEIGHTS).items() if ".lora_" not in n}
    assert list(head) == ["base_model.model.lm_head.weight"]
    assert head["base_model.model.lm_head.weight"].equal(2 * HEAD)
    settings = json.loads((tmp_path / "m" / "adapter_config.json").read_text())
    assert settings["modules_to_save"] == ["lm_head"]


@pytest.mark.parametrize("task", ["causal_lm", "VISION_2_SEQ", "nope"])
def test_a_task_that_peft_does_not_know(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEFT raises a ValueError at the input, and raised it at the merge."""
    monkeypatch.chdir(tmp_path)
    adapter(Path("a"), task_type=task)
    error = refused_merge(tmp_path, ["a"], f"task_type = '{task}' is none of PEFT's", "CAUSAL_LM")
    (option,) = re.findall(r"--accept-setting task_type", error.hint)
    assert run(["merge", "a", "-o", "m", *option.split()]) == 0


UNSELECTED: dict[str, dict[str, Any]] = {
    "other targets": {"target_modules": ["k_proj"]},
    "a pattern of nothing": {"target_modules": "nothing.*"},
    "excluded": {"exclude_modules": ["q_proj", "v_proj", "down_proj"]},
    "no layer": {"layers_to_transform": [7]},
}


@pytest.mark.parametrize("case", UNSELECTED)
def test_modules_that_the_settings_leave_out_are_named(case: str, tmp_path: Path) -> None:
    """PEFT drops them at the input; the merge has them, and said nothing."""
    folder = adapter(tmp_path / "a", **UNSELECTED[case])
    report = merge([folder], tmp_path / "m", method="task-arithmetic")
    assert any("6 of 6 modules are merged that PEFT leaves out" in w for w in report.warnings)
    assert deltas(tmp_path / "m").keys() == LLM.keys()


@pytest.mark.parametrize("targets", [["q_proj", "v_proj", "down_proj"], "all-linear", None])
def test_modules_that_the_settings_select_are_not(targets: Any, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", target_modules=targets)
    report = merge([folder], tmp_path / "m", method="task-arithmetic")
    assert not any("PEFT leaves out" in warning for warning in report.warnings)


def test_a_pattern_that_is_none_is_named(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", target_modules="(")
    report = merge([folder], tmp_path / "m", method="task-arithmetic")
    assert any("PEFT does not load it" in warning for warning in report.warnings)


NUMBERS = {
    "alpha as text": ({"lora_alpha": "16"}, "lora_alpha = '16' is not a number"),
    "rank 0": ({"r": 0}, "r = 0 is not a positive whole number"),
    "a rank below 0": ({"r": -4}, "r = -4 is not a positive whole number"),
    "a rank as text": ({"r": "4"}, "r = '4' is not a positive whole number"),
    "no rank": ({"r": None}, "r = None is not a positive whole number"),
    "alpha true": ({"lora_alpha": True}, "lora_alpha = True is not a number"),
    "rsLoRA as text": ({"use_rslora": "true"}, "use_rslora = 'true' is not true or false"),
    "a pattern's alpha as text": ({"alpha_pattern": {"q_proj": "1"}}, "is not a number"),
    "two patterns that differ": (
        {"rank_pattern": {"q_proj": 2, "layers.0.self_attn.q_proj": 4}},
        "has rank 4 in its tensors and 2 in its settings",
    ),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_that_mean_nothing(case: str, tmp_path: Path) -> None:
    settings, message = NUMBERS[case]
    refused_merge(tmp_path, [adapter(tmp_path / "a", **settings)], message)


@pytest.mark.parametrize("alpha", [-8, 0, 0.5, 1e20])
def test_any_alpha_is_a_scaling(alpha: float, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", alpha=alpha)
    code, errors = command("merge", folder, "-o", tmp_path / "m", "-m", "task-arithmetic")
    assert (code, errors) == (0, errors)
    wanted = deltas(folder)
    for name, delta in deltas(tmp_path / "m").items():
        assert float((delta - wanted[name]).norm()) <= 1e-6 * float(wanted[name].norm())


TYPES = (torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.int64, torch.bool)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_factors_of_a_type_that_is_not_merged(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    tensors: dict[str, Tensor] = load_file(folder / WEIGHTS)
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, folder / WEIGHTS)
    refused_merge(tmp_path, [folder], "tensor of type ", "F64, F32, F16, BF16")
