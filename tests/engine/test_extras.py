"""Fully trained parameters: merged by their own policy, written to a file that can be loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from factories.adapters import LLM, adapter
from robustmerge.engine.merge import merge_recipe
from robustmerge.engine.recipe import Recipe
from robustmerge.errors import MergeError

NAME = "model.multi_modal_projector.linear_1.weight"
FULL = f"base_model.model.{NAME}"


def projector(seed: int) -> torch.Tensor:
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(seed))


def pair(root: Path, **settings: Any) -> list[str]:
    return [
        str(
            adapter(
                root / str(i),
                seed=i,
                extras={NAME: projector(i)},
                modules_to_save=["multi_modal_projector"],
                **settings,
            )
        )
        for i in range(2)
    ]


def base(root: Path) -> str:
    root.mkdir()
    save_file({"multi_modal_projector.linear_1.weight": projector(9)}, root / "model.safetensors")
    return str(root)


def merge(sources: list[str], output: Path, **settings: Any) -> dict[str, torch.Tensor]:
    merge_recipe(Recipe(adapters=tuple(sources), **settings), output)
    return load_file(output / "adapter_model.safetensors")


def test_mean_by_default_whatever_the_scale(tmp_path: Path) -> None:
    merged = merge(pair(tmp_path), tmp_path / "out", weights=(1.0, 3.0), scale=0.1)
    torch.testing.assert_close(merged[FULL], (projector(0) + 3 * projector(1)) / 4)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["modules_to_save"] == ["multi_modal_projector"]


def test_sum_of_changes_to_the_base(tmp_path: Path) -> None:
    where = base(tmp_path / "base")
    merged = merge(pair(tmp_path), tmp_path / "out", extras="sum", base=where, weights=(1.0, 0.5))
    start = projector(9)
    expected = start + (projector(0) - start) + 0.5 * (projector(1) - start)
    torch.testing.assert_close(merged[FULL], expected)


def test_sum_without_a_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="change of the base"):
        merge(pair(tmp_path), tmp_path / "out", extras="sum")
    assert not (tmp_path / "out").exists()


def test_a_missing_one_counts_as_the_base(tmp_path: Path) -> None:
    sources = [pair(tmp_path)[0], str(adapter(tmp_path / "without", seed=5))]
    with pytest.raises(MergeError, match="fully trained tensors"):
        merge(sources, tmp_path / "out")
    with pytest.raises(MergeError, match="change of the base"):
        merge(sources, tmp_path / "out", missing="zero")
    where = base(tmp_path / "base")
    merged = merge(sources, tmp_path / "out", missing="zero", base=where)
    torch.testing.assert_close(merged[FULL], (projector(0) + projector(9)) / 2)
    assert FULL not in merge(sources, tmp_path / "dropped", missing="drop")


def test_beside_the_adapter(tmp_path: Path) -> None:
    merged = merge(pair(tmp_path), tmp_path / "out", extras_in="beside")
    assert FULL not in merged
    beside = load_file(tmp_path / "out" / "non_lora.safetensors")
    torch.testing.assert_close(beside[NAME], (projector(0) + projector(1)) / 2)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert "modules_to_save" not in config


def test_each_keeps_its_type(tmp_path: Path) -> None:
    merged = merge(pair(tmp_path, dtype=torch.bfloat16), tmp_path / "out")
    assert merged[FULL].dtype == torch.float32
    assert {t.dtype for n, t in merged.items() if "lora" in n} == {torch.bfloat16}


def test_a_bare_parameter_goes_beside(tmp_path: Path) -> None:
    name = "model.image_newline"
    source = str(adapter(tmp_path / "a", extras={name: torch.ones(4)}))
    with pytest.raises(MergeError, match="bare parameter"):
        merge([source], tmp_path / "out")
    merge([source], tmp_path / "out", extras_in="beside")
    assert load_file(tmp_path / "out" / "non_lora.safetensors")[name].tolist() == [1] * 4


def test_a_bare_parameter_is_spelled_as_the_layout_spells_it(tmp_path: Path) -> None:
    old = {f"language_model.model.layers.0.self_attn.{p}_proj": (8, 8) for p in "qv"}
    source = str(adapter(tmp_path / "a", modules=old, extras={"image_newline": torch.ones(4)}))
    for layout, name in (("hf-old", "image_newline"), ("hf", "model.image_newline")):
        merge([source], tmp_path / layout, extras_in="beside", layout=layout)
        assert list(load_file(tmp_path / layout / "non_lora.safetensors")) == [name]


def embedding(root: Path, seed: int, copy: torch.Tensor) -> str:
    g = torch.Generator().manual_seed(seed)
    extras = {
        "model.language_model.embed_tokens.lora_embedding_A": torch.randn(2, 11, generator=g),
        "model.language_model.embed_tokens.lora_embedding_B": torch.randn(16, 2, generator=g),
        "model.language_model.embed_tokens.base_layer.weight": copy,
    }
    return str(adapter(root, seed=seed, rank=2, modules=LLM, extras=extras))


def test_embedding_lora_and_the_copy_of_the_base_weight(tmp_path: Path) -> None:
    copy = torch.randn(11, 16)
    sources = [embedding(tmp_path / "a", 1, copy), embedding(tmp_path / "b", 2, copy)]
    merged = merge(sources, tmp_path / "out", method="task-arithmetic", rank="full")
    key = "base_model.model.model.language_model.embed_tokens.lora_embedding_%s"
    inputs = [load_file(Path(s) / "adapter_model.safetensors") for s in sources]
    expected = sum(4 * t[key % "B"] @ t[key % "A"] for t in inputs)
    torch.testing.assert_close(
        merged[key % "B"] @ merged[key % "A"], expected, rtol=1e-4, atol=1e-5
    )
    assert torch.equal(
        merged["base_model.model.model.language_model.embed_tokens.base_layer.weight"], copy
    )
    other = [sources[0], embedding(tmp_path / "c", 3, copy + 1)]
    with pytest.raises(MergeError, match="different copies of the base weight"):
        merge(other, tmp_path / "out2")
