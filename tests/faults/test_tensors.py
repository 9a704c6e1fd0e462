"""Tensors that are no complete adapter, or whose values are no numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from factories.adapters import LLM, adapter
from faults.refuse import merge, refused_merge

PREFIX = "base_model.model."
MODULE = "model.language_model.layers.1.self_attn.v_proj"
A, B = f"{PREFIX}{MODULE}.lora_A.weight", f"{PREFIX}{MODULE}.lora_B.weight"
HEAD = "lm_head.modules_to_save.default.weight"

Tensors = dict[str, Tensor]


def changed(folder: Path, change: Callable[[Tensors], object]) -> Path:
    """An adapter whose tensors were changed."""
    adapter(folder, seed=1, extras={"lm_head.weight": torch.ones(3, 2)})
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    return folder


def add_tensor(name: str, *shape: int) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: torch.ones(shape)})


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (lambda t: t.pop(A), [f"{MODULE} has lora_B only", B]),
        (lambda t: t.pop(B), [f"{MODULE} has lora_A only", A]),
        (
            add_tensor(f"{PREFIX}{MODULE}.lora_embedding_A", 4, 9),
            ["lora_A, lora_B, lora_embedding_A", A],
        ),
        (add_tensor(A, 3, 16), ["A is [3, 16] and B is [12, 4]", A, B]),
        (add_tensor(B, 12, 5), ["A is [4, 16] and B is [12, 5]", A, B]),
        (add_tensor(A, 4, 0), ["an empty tensor [4, 0]", A]),
        (add_tensor(A, 16), ["factors of shape [16] and [12, 4]", A]),
        (add_tensor(B), ["factors of shape [4, 16] and []", A]),
        (add_tensor(A, 4, 16, 1, 1), ["factors of shape [4, 16, 1, 1]", A]),
        (add_tensor(A.replace(".weight", ".default.weight"), 4, 16), ["the same parameter", A]),
        (add_tensor(A.removeprefix(PREFIX), 4, 16), ["the same parameter", A]),
        (add_tensor(PREFIX + HEAD, 3, 2), ["the same parameter", "lm_head.weight"]),
        (
            add_tensor(f"{PREFIX}{MODULE}.lora_C.weight", 4, 16),
            ["no place in a LoRA adapter", "lora_C"],
        ),
        (
            add_tensor(f"{PREFIX}{MODULE}.lora_A.bias", 4),
            ["no place in a LoRA adapter", "lora_A.bias"],
        ),
        (add_tensor(f"{PREFIX}{MODULE}.lora_B.bias", 12), ["a bias of lora_B", "lora_B.bias"]),
        (add_tensor(f"{PREFIX}{MODULE}.lora_magnitude_vector.weight", 12), ["DoRA", "magnitude"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_broken_set_of_tensors_is_refused(
    tmp_path: Path, change: Callable[[Tensors], object], messages: list[str]
) -> None:
    good = adapter(tmp_path / "good", extras={"lm_head.weight": torch.ones(3, 2)})
    bad = changed(tmp_path / "bad", change)
    error = refused_merge(tmp_path, [good, bad], *messages)
    assert str(bad / "adapter_model.safetensors") in error.where


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", [A, B, f"{PREFIX}lm_head.weight"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_value_that_is_no_number_is_refused(
    tmp_path: Path, name: str, value: float, count: int
) -> None:
    def spoil(tensors: Tensors) -> None:
        tensors[name].view(-1)[-count:] = value

    good = adapter(tmp_path / "good", extras={"lm_head.weight": torch.ones(3, 2)})
    bad = changed(tmp_path / "bad", spoil)
    error = refused_merge(tmp_path, [good, bad], f"{count} of ", "NaN or infinite")
    assert error.where == f"{bad / 'adapter_model.safetensors'}  {name}"


def test_infinities_that_cancel_are_seen(tmp_path: Path) -> None:
    def spoil(tensors: Tensors) -> None:
        tensors[A].view(-1)[:2] = torch.tensor([float("inf"), -float("inf")])

    refused_merge(tmp_path, [changed(tmp_path / "bad", spoil)], "2 of 64 values")


def test_a_tensor_of_no_module_is_refused(tmp_path: Path) -> None:
    folder = changed(tmp_path / "a", add_tensor("step", 1))
    refused_merge(tmp_path, [folder], "step is a bare parameter", "adapter_model.safetensors  step")


def test_large_values_are_values(tmp_path: Path) -> None:
    """A sum that overflows is no infinity in the file."""

    def grow(tensors: Tensors) -> None:
        tensors[A].fill_(2e38)
        tensors[B].zero_()

    folder = changed(tmp_path / "large", grow)
    assert merge([folder], tmp_path / "out", method="task-arithmetic").rank == 4


def test_settings_and_tensors_must_agree_on_the_rank(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", rank=4)
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace('"r": 4', '"r": 8'))
    error = refused_merge(tmp_path, [folder], "has rank 4 in its tensors and 8 in its settings")
    assert str(config) in error.where
    assert "adapter_model.safetensors" in error.where


def test_a_file_without_lora_is_refused(tmp_path: Path) -> None:
    weights = {f"{name}.weight": torch.ones(shape) for name, shape in LLM.items()}
    folder = adapter(tmp_path / "full", modules={}, extras=weights)
    refused_merge(tmp_path, [folder], "no LoRA tensors", "adapter_model.safetensors")


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.safetensors").mkdir()
    refused_merge(tmp_path, [folder], "no adapter_model.safetensors", str(folder))


@pytest.mark.parametrize(
    ("layout", "item", "other"),
    [
        ("llava", "model.model.visual", "language_model.model.model.visual"),
        ("flat", "model.q_proj", "model.language_model.q_proj"),
    ],
)
def test_two_names_never_become_one(tmp_path: Path, layout: str, item: str, other: str) -> None:
    """Names of no known model, which one layout tells apart and another does not."""
    folder = adapter(tmp_path / "a", modules={item: (6, 8), other: (6, 8)})
    error = refused_merge(tmp_path, [folder], f"are both {item}", "--layout hf", layout=layout)
    assert len(error.where.splitlines()) == 2
    assert len(merge([folder], tmp_path / "out", layout="hf").modules) == 2


@pytest.mark.parametrize("part", ["²", "1" * 5000, "٣", "0x1", "-1", "1e9", ""])
def test_any_part_of_a_name_can_be_sorted(tmp_path: Path, part: str) -> None:
    """Names are sorted by their numbers, and not all that looks like one is one."""
    modules = {f"model.language_model.layers.{n}.q_proj": (6, 8) for n in (part, "0", "a")}
    folder = adapter(tmp_path / "a", modules=modules)
    if len(part) > 1000:
        refused_merge(tmp_path, [folder], "a name of")
    else:
        assert len(merge([folder], tmp_path / "out").modules) == 3
