"""The rules are PEFT's own: compared with PEFT itself, on the modules of real models."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import ModulesToSaveWrapper
from safetensors.torch import load_file, save_file

from factories.adapters import adapter
from factories.families import attach, build, save_adapter
from robustmerge.adapter import layout
from robustmerge.adapter.keys import PREFIX
from robustmerge.checks.contents import Contents
from robustmerge.checks.peft_rules import entries, lands, saves, selects
from robustmerge.errors import MergeError

SETTINGS: list[dict[str, Any]] = [
    {"target_modules": ["q_proj", "v_proj"]},
    {"target_modules": ["proj"]},
    {"target_modules": ["self_attn.q_proj", "model.vision_tower.encoder.layers.0.mlp.fc1"]},
    {"target_modules": r".*language_model.*_proj"},
    {"target_modules": "language_model.*q_proj"},
    {"target_modules": ["q_proj"], "exclude_modules": ".*vision_tower.*"},
    {
        "target_modules": ["q_proj"],
        "exclude_modules": ["vision_tower", "0.self_attn.q_proj"],
    },
    {"target_modules": ["q_proj"], "exclude_modules": "vision_tower"},
    {"target_modules": ["fc1", "linear_1"], "modules_to_save": ["multi_modal_projector"]},
    {"target_modules": ["fc1", "fc2"], "modules_to_save": ["layers.0", "ignored"]},
    {"target_modules": ["q_proj"], "modules_to_save": ["proj"]},
    {"target_modules": ["q_proj", "lm_head"], "layers_to_transform": [1]},
    {"target_modules": ["q_proj"], "layers_to_transform": 0},
    {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "layers"},
    {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ["blocks", "h"]},
    {
        "target_modules": ["model.language_model.layers.0.mlp.up_proj", "down_proj"],
        "layers_to_transform": [1],
    },
    {"target_modules": r".*\.layers\.\d\.mlp\.fc\d"},
]


@cache
def modules(family: str) -> tuple[str, ...]:
    return tuple(name for name, _ in build(family).named_modules() if name)


@pytest.mark.parametrize("raw", SETTINGS, ids=str)
def test_peft_selects_the_same_modules(raw: dict[str, Any]) -> None:
    config = LoraConfig(**raw)
    names = [*modules("llava"), *modules("qwen2_vl")]
    theirs = {name for name in names if check_target_module_exists(config, name)}
    assert {name for name in names if selects(raw, name)} == theirs


@pytest.mark.parametrize("family", ["llava", "qwen3_vl"])
def test_all_linear_selects_what_peft_does(family: str, tmp_path: Path) -> None:
    save_adapter(family, tmp_path, seed=0, targets="all-linear")
    theirs = {lora.written for lora in Contents.open(tmp_path).loras}
    linear = (torch.nn.Linear, torch.nn.Embedding)
    ours = {n for n, m in build(family).named_modules() if isinstance(m, linear)}
    assert {n for n in ours if selects({"target_modules": "All-Linear"}, n)} == theirs


@pytest.mark.parametrize("raw", [{}, {"target_modules": []}, {"target_modules": 3}])
def test_without_targets_nothing_is_known(raw: dict[str, Any]) -> None:
    assert selects(raw, "model.q_proj") is None


@pytest.mark.parametrize("field", ["target_modules", "exclude_modules"])
def test_a_broken_pattern_is_named(field: str) -> None:
    with pytest.raises(MergeError, match=r"'\*oops' is no regular expression"):
        selects({"target_modules": ["q_proj"], field: "*oops"}, "model.q_proj")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
@pytest.mark.parametrize("entry", ["norm", "projector", "lm_head", "image_newline"])
def test_peft_saves_the_same_modules(entry: str) -> None:
    config = LoraConfig(target_modules=["q_proj"], modules_to_save=[entry])
    model = get_peft_model(build("llava_next"), config)
    wrapped = (n for n, m in model.named_modules() if isinstance(m, ModulesToSaveWrapper))
    theirs = {name.removeprefix(PREFIX) for name in wrapped}
    assert {n for n in modules("llava_next") if saves({"modules_to_save": [entry]}, n)} == theirs


def test_only_lists_of_names_are_entries() -> None:
    assert entries({"a": ["x", 3], "b": "xy"}, "a") == ["x"]
    assert entries({"a": ["x", 3], "b": "xy"}, "b") == []


def rename_tensors(folder: Path, to: str) -> dict[str, str]:
    """Rename an adapter's tensors to another layout; returns new names by old ones."""
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    names = {n: PREFIX + layout.written(n.removeprefix(PREFIX), to) for n in tensors}
    if to == "hf":  # as transformers 4.52 had it, with one level more in the tower
        names = {n: n.replace("vision_tower.", "vision_tower.vision_model.") for n in tensors}
    save_file({names[n]: t for n, t in tensors.items()}, path)
    return names


@pytest.mark.parametrize(
    ("family", "to"),
    [
        ("llava", "hf"),
        ("llava", "hf-old"),
        ("llava", "llava"),
        ("internvl", "hf-old"),
        ("qwen2_vl", "flat"),
    ],
)
def test_peft_finds_the_same_tensors(family: str, to: str, tmp_path: Path) -> None:
    save_adapter(family, tmp_path, seed=1, targets="all-linear")
    before = load_file(tmp_path / "adapter_model.safetensors")
    renamed = rename_tensors(tmp_path, to)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys")
        model = attach(build(family), tmp_path)
    live = get_peft_model_state_dict(model, save_embedding_layers=False)
    theirs = {renamed[name] for name, tensor in before.items() if torch.equal(live[name], tensor)}
    contents = Contents.open(tmp_path)
    assert {i.ref.name for i in contents.items if lands(contents, i)} == theirs


def test_peft_finds_no_fully_trained_parameter_by_an_old_name(tmp_path: Path) -> None:
    save_adapter("llava", tmp_path, seed=1, modules_to_save=["language_model.norm"])
    rename_tensors(tmp_path, "hf-old")
    contents = Contents.open(tmp_path)
    (item,) = contents.fully_trained
    assert not lands(contents, item)
    with pytest.raises(KeyError, match="norm"):
        attach(build("llava"), tmp_path)


def test_old_names_are_the_names_of_text_only_models(tmp_path: Path) -> None:
    names = {"model.layers.0.self_attn.q_proj": (8, 8), "lm_head": (16, 8)}
    mapping = {"base_model_class": "LlamaForCausalLM", "parent_library": "x"}
    known = Contents.open(adapter(tmp_path / "known", modules=names, auto_mapping=mapping))
    assert known.text_only
    assert all(lands(known, item) for item in known.items)
    for name in ("model.language_model.layers.0.q_proj", "language_model.model.layers.0.q_proj"):
        folder = adapter(tmp_path / name, modules={name: (8, 8)}, auto_mapping=mapping)
        other = Contents.open(folder)
        assert not any(lands(other, item) for item in other.items)
    assert Contents.open(adapter(tmp_path / "unknown", modules=names)).text_only is None


def test_the_original_llava_is_not_text_only_whatever_its_class_says(tmp_path: Path) -> None:
    mapping = {"base_model_class": "LlavaLlamaForCausalLM", "parent_library": "llava"}
    names = {"model.layers.0.self_attn.q_proj": (8, 8), "model.mm_projector.0": (8, 8)}
    contents = Contents.open(adapter(tmp_path, modules=names, auto_mapping=mapping))
    assert contents.text_only is False
    assert not any(lands(contents, item) for item in contents.items)
