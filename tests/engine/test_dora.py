"""DoRA adapters: their updates merged like any, their magnitudes averaged, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from factories.families import attach, build, logits, save_adapter
from robustmerge.engine.merge import merge_recipe
from robustmerge.engine.recipe import Recipe
from robustmerge.errors import MergeError

WEIGHTS = "adapter_model.safetensors"
Q = "base_model.model.model.language_model.layers.1.self_attn.q_proj"


def merge(sources: list[Path], out: Path, **options: Any) -> Path:
    settings = {"method": "task-arithmetic", "rank": "full", "dora": "mean"} | options
    merge_recipe(Recipe(adapters=tuple(map(str, sources)), **settings), out)
    return out


def dora(root: Path, seed: int, **options: Any) -> Path:
    return save_adapter("llava", root / f"dora-{seed}", seed=seed, use_dora=True, **options)


def weight_of(model: PeftModel) -> Tensor:
    return model.merge_and_unload().get_parameter(
        "model.language_model.layers.1.self_attn.q_proj.weight"
    )


def test_one_adapter_comes_out_as_it_was(tmp_path: Path) -> None:
    source = dora(tmp_path, 1, rank=3, alpha=7, rslora=True)
    out = merge([source], tmp_path / "out")
    before = logits("llava", attach(build("llava"), source))
    after = logits("llava", attach(build("llava"), out))
    assert not torch.allclose(before, logits("llava", build("llava")), atol=1e-2)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("weights", [None, (1.0, 3.0)])
def test_two_adapters_are_the_formula(tmp_path: Path, weights: tuple[float, ...] | None) -> None:
    sources = [dora(tmp_path, seed, rank=2 + seed, alpha=4) for seed in (1, 2)]
    out = merge(sources, tmp_path / "out", weights=weights)
    shares = torch.tensor(weights or (1.0, 1.0))
    files = [load_file(source / WEIGHTS) for source in sources]
    update = sum(
        w * (4 / (2 + seed)) * file[f"{Q}.lora_B.weight"] @ file[f"{Q}.lora_A.weight"]
        for w, seed, file in zip(shares, (1, 2), files, strict=True)
    )
    magnitudes = torch.stack([file[f"{Q}.lora_magnitude_vector"] for file in files])
    mean = (shares[:, None] * magnitudes).sum(0) / shares.sum()
    W = build("llava").get_parameter("model.language_model.layers.1.self_attn.q_proj.weight")
    direction = W + update
    expected = mean[:, None] * direction / direction.norm(dim=1, keepdim=True)
    actual = weight_of(attach(build("llava"), out))
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_the_output_says_that_it_is_dora(tmp_path: Path) -> None:
    out = merge([dora(tmp_path, 1), dora(tmp_path, 2)], tmp_path / "out")
    settings = json.loads((out / "adapter_config.json").read_text())
    assert settings["use_dora"] is True
    assert "modules_to_save" not in settings
    assert "magnitudes averaged" in (out / "merge.json").read_text()


def test_refused_unless_asked_for(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="use_dora") as error:
        merge([dora(tmp_path, 1)], tmp_path / "out", dora="refuse")
    assert "--dora mean" in error.value.hint
    assert not (tmp_path / "out").exists()


def test_not_merged_with_plain_adapters(tmp_path: Path) -> None:
    plain = save_adapter("llava", tmp_path / "plain", seed=2)
    with pytest.raises(MergeError, match="disagree on the value of use_dora"):
        merge([dora(tmp_path, 1), plain], tmp_path / "out")


def test_plain_adapters_stay_plain(tmp_path: Path) -> None:
    plain = [save_adapter("llava", tmp_path / f"plain-{i}", seed=i) for i in (1, 2)]
    out = merge(plain, tmp_path / "out")
    assert json.loads((out / "adapter_config.json").read_text())["use_dora"] is False


@pytest.mark.parametrize(
    "options",
    [{"extras_in": "beside"}, {"extras": "sum"}, {"missing": "zero"}, {"layout": "llava"}],
    ids=str,
)
def test_what_magnitudes_exclude(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(MergeError, match="DoRA adapters cannot be merged with"):
        merge([dora(tmp_path, 1)], tmp_path / "out", **options)


def test_a_missing_magnitude_is_named(tmp_path: Path) -> None:
    source = dora(tmp_path, 1)
    tensors = load_file(source / WEIGHTS)
    del tensors[f"{Q}.lora_magnitude_vector"]
    save_file(tensors, source / WEIGHTS)
    with pytest.raises(MergeError, match=r"1 of 14 modules .*layers\.1\.self_attn\.q_proj"):
        merge([source], tmp_path / "out")


def test_magnitudes_without_the_setting_are_refused(tmp_path: Path) -> None:
    source = dora(tmp_path, 1)
    path = source / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_dora": False}))
    with pytest.raises(MergeError, match="do not say use_dora"):
        merge([source], tmp_path / "out")
