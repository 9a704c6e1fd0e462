"""What is in the model and what PEFT left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import robustmerge
from factories.families import LANGUAGE, attach, build, save_adapter
from robustmerge import MergeError
from robustmerge.peft import landed

WEIGHTS = "adapter_model.safetensors"


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "smolvlm"])
@pytest.mark.parametrize("targets", ["all-linear", LANGUAGE + r"|.*embed_tokens|.*lm_head"])
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`:UserWarning")
def test_what_peft_loads_in_full_has_landed(family: str, targets: str, tmp_path: Path) -> None:
    folder = save_adapter(family, tmp_path / "one", seed=1, targets=targets)
    landed(attach(build(family), folder), folder)


def test_saved_modules_and_tokens_have_landed(tmp_path: Path) -> None:
    more: dict[str, Any] = {"modules_to_save": ["multi_modal_projector"]}
    more["trainable_token_indices"] = {"embed_tokens": [1, 2]}
    folder = save_adapter("llava", tmp_path / "one", seed=1, **more)
    model = attach(build("llava"), folder)
    landed(model, folder)
    for end in ("linear_1.bias", "trainable_tokens_delta"):
        tensors = load_file(folder / WEIGHTS)
        key = next(key for key in tensors if key.endswith(end))
        tensors[key] = tensors[key] + 1
        (tmp_path / end).mkdir()
        save_file(tensors, tmp_path / end / WEIGHTS)
        with pytest.raises(MergeError, match="1 of 33 tensors") as caught:
            landed(model, tmp_path / end)
        assert caught.value.where.endswith(f"other values: {key}")


def test_layout_that_peft_ignores_has_not_landed(tmp_path: Path) -> None:
    folder = save_adapter("qwen2_vl", tmp_path / "one", seed=1)
    tensors = load_file(folder / WEIGHTS)
    old = {k.replace("model.language_model.layers", "model.layers"): tensors[k] for k in tensors}
    save_file(old, folder / WEIGHTS)
    with pytest.warns(UserWarning, match="missing adapter keys"):
        model = attach(build("qwen2_vl"), folder)
    with pytest.raises(MergeError, match="28 of 28 tensors are not in the model"):
        landed(model, folder)
    robustmerge.merge([folder], tmp_path / "m", method="task-arithmetic", layout="hf")
    landed(attach(build("qwen2_vl"), tmp_path / "m"), tmp_path / "m")


def test_layout_that_peft_converts_has_landed(tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path / "a", seed=1)
    tensors = load_file(folder / WEIGHTS)
    old = {
        k.replace("model.model.language_model.", "model.language_model.model."): t
        for k, t in tensors.items()
    }
    save_file(old, folder / WEIGHTS)
    assert not set(old) & set(tensors)
    landed(attach(build("llava"), folder), folder)


def test_modules_saved_for_another_adapter_have_not_landed(tmp_path: Path) -> None:
    saved = ["multi_modal_projector"]
    folder = save_adapter("llava", tmp_path / "a", seed=1, modules_to_save=saved)
    plain = save_adapter("llava", tmp_path / "b", seed=1)
    tensors = load_file(folder / WEIGHTS)
    save_file({k: t for k, t in tensors.items() if ".lora_" in k}, plain / WEIGHTS)
    model = attach(build("llava"), folder)
    model.load_adapter(str(plain), "two")
    landed(model, plain, "two")
    with pytest.raises(MergeError, match="4 of 32 tensors"):
        landed(model, folder, "two")


def test_tensor_without_a_place_has_not_landed(tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path / "one", seed=1, targets=["q_proj"])
    tensors = load_file(folder / WEIGHTS)
    key = next(key for key in tensors if "layers.1" in key)
    tensors[key.replace("layers.1", "layers.7")] = tensors[key].clone()
    save_file(tensors, folder / WEIGHTS)
    model = attach(build("llava"), folder)  # without any warning
    with pytest.raises(MergeError, match="1 of 9 tensors") as caught:
        landed(model, folder)
    assert "absent: base_model" in caught.value.where
    assert "--layout hf" in caught.value.hint


def test_another_adapter_has_not_landed(tmp_path: Path) -> None:
    a = save_adapter("llava", tmp_path / "one", seed=1, targets=["q_proj"])
    b = save_adapter("llava", tmp_path / "two", seed=2, targets=["q_proj"])
    model = attach(build("llava"), a)
    model.load_adapter(str(b), "two")
    landed(model, a)
    landed(model, b, "two")
    with pytest.raises(MergeError, match="8 of 8 tensors"):
        landed(model, b)
    with pytest.raises(MergeError, match="unknown adapter 'three'"):
        landed(model, b, "three")


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("live", [torch.float32, torch.bfloat16])
def test_landing_is_judged_in_the_models_type(
    stored: torch.dtype, live: torch.dtype, tmp_path: Path
) -> None:
    folder = save_adapter("llava", tmp_path / "one", seed=1, targets=["q_proj"])
    tensors = {k: t.to(stored) for k, t in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    model = attach(build("llava").to(live), folder)
    landed(model, folder)
    model.to(torch.bfloat16)
    landed(model, folder)
    next(p for n, p in model.named_parameters() if ".lora_A." in n).data.view(-1)[0] *= 1.01
    with pytest.raises(MergeError, match="1 of 8 tensors"):
        landed(model, folder)


@pytest.mark.parametrize("layout", ["hf", "hf-old"])
def test_projector_beside_the_adapter_is_checked(layout: str, tmp_path: Path) -> None:
    saved = ["multi_modal_projector"]
    folder = save_adapter("llava", tmp_path / "one", seed=1, modules_to_save=saved)
    out = tmp_path / "m"
    robustmerge.merge([folder], out, method="task-arithmetic", extras_in="beside", layout=layout)
    base = build("llava")
    with pytest.raises(MergeError, match="4 of 32 tensors are not in the model"):
        landed(attach(base, out), out)
    base = build("llava")
    beside = load_file(out / "non_lora.safetensors")
    now = {f"model.{name.removeprefix('model.')}": tensor for name, tensor in beside.items()}
    assert base.load_state_dict(now, strict=False).unexpected_keys == []
    landed(attach(base, out), out)
