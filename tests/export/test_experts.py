"""Experts baked into bases that store them otherwise: against PEFT's own sums, by every layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import robustmerge
from factories.adapters import adapter
from factories.experts import FAMILIES, Build, seeded, trained
from robustmerge.adapter.reader import Adapter
from robustmerge.cli.app import run
from robustmerge.errors import MergeError
from robustmerge.export import export_adapter

LAYOUTS = ("projections", "experts", "sglang")
SQUARE = {"intermediate_size": 16, "moe_intermediate_size": 16}


def fused_base(build: Build, folder: Path) -> dict[str, Tensor]:
    """Save a base under the names that the model has in memory; return its tensors."""
    model = seeded(build)
    model.config.save_pretrained(folder)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    return tensors


def in_layout(folder: Path, layout: str) -> Path:
    """Return the adapter of fused experts in another layout."""
    robustmerge.convert(folder / "a", folder / layout, layout=layout, base=folder / "base")
    return folder / layout


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_single_experts_are_baked_into_fused_ones(tmp_path: Path, family: str, layout: str) -> None:
    build, parameters = FAMILIES[family]
    settings = {"target_modules": ["q_proj"], "target_parameters": parameters[:2]}
    changes = trained(build, tmp_path / "a", 1, **settings)
    before = fused_base(build, tmp_path / "base")
    source, out = in_layout(tmp_path, layout), tmp_path / "out"
    assert (
        run(
            [
                "export",
                str(source),
                "-o",
                str(out),
                "--format",
                "full",
                "--base",
                str(tmp_path / "base"),
            ]
        )
        == 0
    )
    after = load_file(out / "model.safetensors")
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor + changes[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layout_is_baked_into_the_checkpoint_of_its_family(
    tmp_path: Path, family: str, layout: str
) -> None:
    """Checkpoints of Qwen3-MoE and Mixtral have single experts, Qwen3-VL-MoE's are transposed."""
    build, parameters = FAMILIES[family]
    settings = {"target_modules": ["q_proj"], "target_parameters": parameters[:2]}
    changes = trained(build, tmp_path / "a", 1, **settings)
    model = seeded(build)
    model.save_pretrained(str(tmp_path / "base"))
    out = tmp_path / "out"
    source = in_layout(tmp_path, layout)
    export_adapter(source, out, format="full", base=str(tmp_path / "base"))
    baked = type(model).from_pretrained(str(out)).state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(baked[name], tensor + changes[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["Qwen3-MoE", "gpt-oss", "Llama 4"])
def test_square_experts_are_baked_where_both_parameters_say_how_they_lie(
    tmp_path: Path, family: str
) -> None:
    """As those of gpt-oss, 2880 x 2880."""

    def build() -> nn.Module:
        config = FAMILIES[family][0]().config
        sizes = {name: 16 for name in SQUARE if hasattr(config, name)}  # type: ignore[arg-type]
        return type(FAMILIES[family][0]())(type(config)(**{**config.to_dict(), **sizes}))

    changes = trained(build, tmp_path / "a", 1, target_parameters=FAMILIES[family][1][:2])
    before = fused_base(build, tmp_path / "base")
    out = tmp_path / "out"
    assert before["model.layers.0." + FAMILIES[family][1][1]].shape[1:] == (16, 16)
    for source in (tmp_path / "a", *(in_layout(tmp_path, layout) for layout in LAYOUTS)):
        export_adapter(source, out, format="full", base=str(tmp_path / "base"), force=True)
        after = load_file(out / "model.safetensors")
        for name, tensor in before.items():
            torch.testing.assert_close(after[name], tensor + changes[name], atol=1e-5, rtol=1e-5)


def test_square_experts_of_which_one_parameter_is_adapted_are_refused(tmp_path: Path) -> None:
    names = {f"model.layers.0.mlp.experts.{e}.down_proj": (16, 16) for e in range(4)}
    adapter(tmp_path / "a", modules=names, seed=3)

    def build() -> nn.Module:
        config = FAMILIES["gpt-oss"][0]().config
        return type(FAMILIES["gpt-oss"][0]())(type(config)(**{**config.to_dict(), **SQUARE}))

    fused_base(build, tmp_path / "base")
    with pytest.raises(MergeError, match="which axis is the input") as caught:
        export_adapter(tmp_path / "a", tmp_path / "out", format="full", base=str(tmp_path / "base"))
    assert "merge_and_unload" in caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "changed", "match"),
    [
        ({"experts.7.gate_proj": (12, 16)}, {}, "there is no expert 7"),
        ({"experts.0.gate_proj": (10, 16)}, {}, "an update of"),
        ({"experts.0.gate_proj": (12, 16)}, {"model_type": "unheard_of"}, "unheard_of"),
    ],
)
def test_experts_that_do_not_fit_are_refused(
    tmp_path: Path, names: dict[str, tuple[int, int]], changed: dict[str, str], match: str
) -> None:
    adapter(tmp_path / "a", modules={f"model.layers.0.mlp.{n}": s for n, s in names.items()})
    fused_base(FAMILIES["Qwen3-MoE"][0], tmp_path / "base")
    config = tmp_path / "base/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changed))
    with pytest.raises(MergeError, match=match):
        export_adapter(tmp_path / "a", tmp_path / "out", format="full", base=str(tmp_path / "base"))
    assert not (tmp_path / "out").exists()


def test_a_merge_names_single_experts_after_a_base_that_has_them_fused(tmp_path: Path) -> None:
    names = {f"model.layers.0.mlp.experts.{e}.up_proj": (12, 16) for e in range(4)}
    for seed, name in enumerate("ab"):
        adapter(tmp_path / name, modules=names, seed=seed)
    fused_base(FAMILIES["Qwen3-MoE"][0], tmp_path / "base")
    inputs = [tmp_path / "a", tmp_path / "b"]
    robustmerge.merge(inputs, tmp_path / "m", base=str(tmp_path / "base"))
    assert set(Adapter(tmp_path / "m").written.values()) == set(names)


def test_magnitudes_of_an_expert_that_the_base_stores_otherwise_are_refused(
    tmp_path: Path,
) -> None:
    name = "model.layers.0.mlp.experts.0.up_proj"
    magnitudes = {f"{name}.lora_magnitude_vector": torch.ones(12)}
    adapter(tmp_path / "a", modules={name: (12, 16)}, extras=magnitudes, use_dora=True)
    fused_base(FAMILIES["Qwen3-MoE"][0], tmp_path / "base")
    with pytest.raises(MergeError, match="DoRA of an expert") as caught:
        export_adapter(tmp_path / "a", tmp_path / "out", format="full", base=str(tmp_path / "base"))
    assert "up_proj" in str(caught.value)
    assert not (tmp_path / "out").exists()
