"""The tiny models are what the other tests take them for."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from factories.families import (
    FAMILIES,
    attach,
    build,
    inputs,
    logits,
    not_landed,
    save_adapter,
    text_inputs,
)


@pytest.mark.parametrize("family", FAMILIES)
def test_image_reaches_the_logits(family: str) -> None:
    model = build(family)
    batch = inputs(family, model)
    other = batch | {"pixel_values": batch["pixel_values"].flip(-1)}
    with torch.no_grad():
        assert (model(**batch).logits - model(**other).logits).abs().max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_text_alone_is_accepted(family: str) -> None:
    with torch.no_grad():
        assert build(family)(**text_inputs()).logits.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_seed_decides_the_model(family: str) -> None:
    item, same, other = build(family), build(family), build(family, seed=1)
    assert torch.equal(logits(family, item), logits(family, same))
    assert not torch.equal(logits(family, item), logits(family, other))


@pytest.mark.parametrize("targets", ["language", "all-linear"])
@pytest.mark.parametrize("family", FAMILIES)
def test_adapter_lands_and_changes_the_logits(family: str, targets: str, tmp_path: Path) -> None:
    folder = save_adapter(family, tmp_path / "adapter", seed=1, targets=targets)
    model = build(family)
    before = logits(family, model)
    adapted = attach(model, folder)
    assert not_landed(adapted, folder) == []
    assert (logits(family, adapted) - before).abs().max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_language_targets_leave_the_vision_side_alone(family: str, tmp_path: Path) -> None:
    folder = save_adapter(family, tmp_path / "adapter", seed=1)
    keys = load_file(folder / "adapter_model.safetensors")
    assert len(keys) == 2 * 2 * 7  # factors, layers, linear layers in each
    assert all(".language_model." in key or ".text_model." in key for key in keys)


def test_seed_decides_the_adapter(tmp_path: Path) -> None:
    files = [
        load_file(save_adapter("llava", tmp_path / name, seed=seed) / "adapter_model.safetensors")
        for name, seed in [("one", 1), ("same", 1), ("other", 2)]
    ]
    for key, tensor in files[0].items():
        assert torch.equal(tensor, files[1][key])
        assert not torch.equal(tensor, files[2][key])
        assert tensor.abs().max() > 0


def test_modules_to_save_are_saved_whole_and_moved(tmp_path: Path) -> None:
    saved = ["multi_modal_projector"]
    folder = save_adapter("llava", tmp_path / "adapter", seed=1, modules_to_save=saved)
    tensors = load_file(folder / "adapter_model.safetensors")
    name = "model.multi_modal_projector.linear_1.weight"
    model = build("llava")
    moved = tensors[f"base_model.model.{name}"] - model.get_parameter(name)
    assert moved.abs().min() > 0
    assert not_landed(attach(model, folder), folder) == []


def test_a_tensor_under_another_name_has_not_landed(tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path / "adapter", seed=1)
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    key = min(tensors)
    renamed = key.replace("layers.0", "layers.9")
    save_file({renamed if name == key else name: tensors[name] for name in tensors}, path)
    with pytest.warns(UserWarning, match="missing adapter keys"):
        adapted = attach(build("llava"), folder)
    assert not_landed(adapted, folder) == [renamed]
