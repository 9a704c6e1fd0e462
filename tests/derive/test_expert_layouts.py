"""Experts under the names of their projections and back: against PEFT, which fuses some itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

import robustmerge
from factories.adapters import adapter
from factories.experts import FAMILIES, batch, seeded, targets, trained
from robustmerge.adapter.expert_families import EXPERTS
from robustmerge.adapter.reader import Adapter
from robustmerge.cli.app import run
from robustmerge.errors import MergeError
from robustmerge.export import export_adapter

Capture = pytest.CaptureFixture[str]
LAYERS = {"Mixtral": ("block_sparse_moe", "w1", "w3", "w2"), "Llama 4": ("feed_forward",)}


def base_of(family: str, folder: Path) -> Path:
    seeded(FAMILIES[family][0]).save_pretrained(str(folder))
    return folder


def name_base(adapter_folder: Path, base: str) -> None:
    config = adapter_folder / "adapter_config.json"
    settings = json.loads(config.read_text()) | {"base_model_name_or_path": base}
    config.write_text(json.dumps(settings))


def logits(family: str, folder: Path) -> Tensor:
    live = PeftModel.from_pretrained(seeded(FAMILIES[family][0]), str(folder)).eval()
    with torch.no_grad():
        result: Tensor = live(**batch(family)).logits
    return result


def projections(family: str, change: Tensor) -> tuple[Tensor, Tensor]:
    """Take the change of gate_up_proj apart as the family's modeling file does: [E, I, H] each."""
    if family == "gpt-oss":
        gate, up = change[..., ::2], change[..., 1::2]
    elif family == "Llama 4":
        gate, up = change.chunk(2, dim=-1)
    else:
        return change.chunk(2, dim=1)[0], change.chunk(2, dim=1)[1]
    return gate.mT, up.mT


@pytest.mark.parametrize("family", FAMILIES)
def test_every_projection_has_its_own_update(tmp_path: Path, family: str) -> None:
    build, parameters = FAMILIES[family]
    changes = trained(build, tmp_path / "a", 1, target_parameters=parameters[:2])
    base = base_of(family, tmp_path / "base")
    robustmerge.convert(tmp_path / "a", tmp_path / "out", layout="projections", base=base)
    owner, *layers = LAYERS.get(family, ("mlp",))
    gate, up, down = layers or ("gate_proj", "up_proj", "down_proj")
    result, seen = Adapter(tmp_path / "out"), 0
    written = {m.written: name for name, m in result.modules.items()}
    for name, change in changes.items():
        module, _, parameter = name.rpartition(".")
        if change.ndim != 3:
            continue
        if parameter == "gate_up_proj":
            wanted: Mapping[str, Tensor] = dict(
                zip((gate, up), projections(family, change), strict=True)
            )
        else:
            wanted = {down: change if change.shape[1] == 16 else change.mT}
        stem = module.replace(".mlp.", f".{owner}.")
        for layer, experts in wanted.items():
            for e, expert in enumerate(experts):
                update = result.factors(written[f"{stem}.{e}.{layer}"]).dense()
                torch.testing.assert_close(update, expert, atol=1e-5, rtol=1e-5)
                seen += 1
    assert seen == len(result.modules) == 2 * 3 * 4


@pytest.mark.parametrize("family", FAMILIES)
def test_projections_and_back_are_the_same_adapter(tmp_path: Path, family: str) -> None:
    build, parameters = FAMILIES[family]
    settings = {"target_modules": ["q_proj"], "target_parameters": parameters}
    trained(build, tmp_path / "a", 1, **settings)
    base = base_of(family, tmp_path / "base")
    for layout, source, out in (("projections", "a", "p"), ("fused", "p", "back")):
        arguments = ["convert", tmp_path / source, "-o", tmp_path / out, "--layout", layout]
        assert run([*map(str, arguments), "--base", str(base)]) == 0
    torch.testing.assert_close(
        logits(family, tmp_path / "back"), logits(family, tmp_path / "a"), atol=1e-4, rtol=1e-4
    )
    before, after = (load_file(tmp_path / n / "adapter_model.safetensors") for n in ("a", "back"))
    assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}


@pytest.mark.parametrize("family", ["Qwen3-MoE", "Mixtral"])
def test_peft_fuses_the_projections_to_the_same_model(tmp_path: Path, family: str) -> None:
    trained(FAMILIES[family][0], tmp_path / "a", 1, target_parameters=targets("mlp"))
    base = base_of(family, tmp_path / "base")
    robustmerge.convert(tmp_path / "a", tmp_path / "out", layout="projections", base=base)
    torch.testing.assert_close(
        logits(family, tmp_path / "out"), logits(family, tmp_path / "a"), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("family", ["Qwen3-MoE", "gpt-oss", "Llama 4"])
@pytest.mark.parametrize("layers", [("gate_proj", "up_proj"), ("up_proj",)])
def test_layers_that_differ_in_A_are_fused_exactly(
    tmp_path: Path, family: str, layers: tuple[str, ...]
) -> None:
    owner = "feed_forward" if family == "Llama 4" else "mlp"
    stem = f"model.layers.0.{owner}.experts"
    names = {f"{stem}.{e}.{layer}": (12, 16) for e in range(4) for layer in layers}
    adapter(tmp_path / "a", modules=names, seed=3)
    base = base_of(family, tmp_path / "base")
    robustmerge.convert(tmp_path / "a", tmp_path / "out", layout="fused", base=base)
    single, fused = Adapter(tmp_path / "a"), Adapter(tmp_path / "out")
    old = {m.written: single.factors(n).dense() for n, m in single.modules.items()}
    assert len(fused.modules) == 4
    for name, module in fused.modules.items():
        gate, up = (
            old.get(f"{module.written.removesuffix('.gate_up_proj')}.{layer}", torch.zeros(12, 16))
            for layer in ("gate_proj", "up_proj")
        )
        update = fused.factors(name).dense()
        update = update if family != "Llama 4" else update.T
        halves = (update[::2], update[1::2]) if family == "gpt-oss" else update.chunk(2)
        torch.testing.assert_close(halves[0], gate, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(halves[1], up, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["Qwen3-MoE", "Mixtral", "Qwen3-VL-MoE"])
def test_experts_of_different_ranks_are_fused_exactly(tmp_path: Path, family: str) -> None:
    build = FAMILIES[family][0]
    changes = trained(
        build, tmp_path / "a", 1, target_parameters=targets("mlp"), target_modules=["q_proj"]
    )
    base = base_of(family, tmp_path / "base")
    robustmerge.convert(tmp_path / "a", tmp_path / "p", layout="projections", base=base)
    file = tmp_path / "p/adapter_model.safetensors"
    tensors, ranks = load_file(file), {}
    for n, name in enumerate(sorted(k for k in tensors if ".experts." in k and "lora_A" in k)):
        module, rank = name.removesuffix(".lora_A.weight"), 1 + n % 3
        B = module + ".lora_B.weight"
        ranks[module.removeprefix("base_model.model.")] = rank
        # Directions that are cut are no part of what the ranks below say.
        tensors[name], tensors[B] = tensors[name][:rank].clone(), tensors[B][:, :rank].clone()
    save_file(tensors, file)
    settings = tmp_path / "p/adapter_config.json"
    content = json.loads(settings.read_text())
    content |= {"rank_pattern": ranks, "alpha_pattern": {k: 2 * r for k, r in ranks.items()}}
    settings.write_text(json.dumps(content))
    robustmerge.convert(tmp_path / "p", tmp_path / "f", layout="fused", base=base)
    robustmerge.convert(tmp_path / "f", tmp_path / "back", layout="projections", base=base)
    single, back = Adapter(tmp_path / "p"), Adapter(tmp_path / "back")
    assert single.modules.keys() == back.modules.keys()
    for name in single.modules:
        wanted = single.factors(name).dense()
        torch.testing.assert_close(back.factors(name).dense(), wanted, atol=1e-5, rtol=1e-5)
    assert run(["check", str(tmp_path / "f"), "--base", str(base), "--for", "peft"]) == 0
    model = seeded(build)
    live = PeftModel.from_pretrained(seeded(build), str(tmp_path / "f")).merge_and_unload()
    merged = live.state_dict()
    moved = {n for n, t in model.state_dict().items() if not torch.equal(t, merged[n])}
    assert moved == {name for name, change in changes.items() if change.any()}
    if family == "Qwen3-VL-MoE":
        return  # its checkpoints have fused experts alone
    export_adapter(tmp_path / "p", tmp_path / "full", format="full", base=str(base))
    baked = type(model).from_pretrained(str(tmp_path / "full")).state_dict()
    for name, tensor in merged.items():
        torch.testing.assert_close(baked[name], tensor, atol=1e-5, rtol=1e-5)


def test_sglang_knows_one_set_of_names(tmp_path: Path, capsys: Capture) -> None:
    trained(FAMILIES["Mixtral"][0], tmp_path / "a", 1, target_parameters=targets("mlp"))
    base = base_of("Mixtral", tmp_path / "base")
    for layout in ("projections", "sglang"):
        robustmerge.convert(tmp_path / "a", tmp_path / layout, layout=layout, base=base)
    named, common = Adapter(tmp_path / "projections"), Adapter(tmp_path / "sglang")
    layers = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}
    assert len(common.modules) == 2 * 4 * 3
    for name in named.modules:
        stem, _, layer = name.rpartition(".")
        other = common.factors(f"{stem}.{layers[layer]}")
        assert torch.equal(named.factors(name).dense(), other.dense())
    assert run(["check", str(tmp_path / "sglang"), "--for", "sglang"]) == 0
    for other in ("a", "projections"):
        capsys.readouterr()
        assert run(["check", str(tmp_path / other), "--for", "sglang"]) == 1
        assert "--layout sglang" in capsys.readouterr().out
    robustmerge.convert(tmp_path / "sglang", tmp_path / "back", layout="fused", base=base)
    torch.testing.assert_close(
        logits("Mixtral", tmp_path / "back"),
        logits("Mixtral", tmp_path / "a"),
        atol=1e-4,
        rtol=1e-4,
    )


def test_what_the_file_does_not_say_is_refused(tmp_path: Path) -> None:
    trained(FAMILIES["gpt-oss"][0], tmp_path / "a", 1, target_parameters=targets("mlp"))

    def convert(**options: object) -> None:
        robustmerge.convert(tmp_path / "a", tmp_path / "out", layout="projections", **options)

    with pytest.raises(MergeError, match="which outputs of gate_up_proj are the gate's") as caught:
        convert()
    assert "--base" in caught.value.hint
    base = base_of("gpt-oss", tmp_path / "base")
    config = base / "config.json"
    text = config.read_text()
    config.write_text(json.dumps(json.loads(text) | {"model_type": "unheard_of"}))
    with pytest.raises(MergeError, match="unheard_of"):
        convert(base=base)
    config.write_text(text)
    weights = load_file(base / "model.safetensors")
    save_file({n: t for n, t in weights.items() if "experts" not in n}, base / "model.safetensors")
    with pytest.raises(MergeError, match="there is no model"):
        convert(base=base)
    assert not (tmp_path / "out").exists()


def test_a_layout_that_it_has_already_is_refused(tmp_path: Path) -> None:
    trained(FAMILIES["Qwen3-MoE"][0], tmp_path / "a", 1, target_parameters=targets("mlp"))
    with pytest.raises(MergeError, match="in the layout fused already"):
        robustmerge.convert(tmp_path / "a", tmp_path / "out", layout="fused")


@pytest.mark.parametrize("name", sorted(EXPERTS))
def test_families_are_stored_as_transformers_says(name: str) -> None:
    """Families that transformers fuses on loading; others are tried above."""
    family = EXPERTS[name]
    conversions = get_checkpoint_conversion_mapping(name) or []
    fused = [c for c in conversions if str(c.target_patterns[0]).endswith("gate_up_proj")]
    lists = [c for c in fused if len(c.source_patterns) == 2]
    if not lists:
        assert name in {"gpt_oss", "llama4", "llama4_text", "qwen3_vl_moe", "qwen3_5_moe"}
        return
    (conversion,) = lists
    layers = [pattern.split(".")[-2] for pattern in conversion.source_patterns]
    assert layers == [family.gate, family.up]
    kinds = {type(operation).__name__ for operation in conversion.operations}
    assert kinds == {"MergeModulelist", "Concatenate"}
    assert not family.alternating
    assert not family.transposed


@pytest.mark.parametrize("missing", ["refuse", "zero"])
def test_two_layouts_do_not_merge_and_the_advice_makes_them_one(
    tmp_path: Path, missing: Literal["refuse", "zero"]
) -> None:
    trained(FAMILIES["Qwen3-MoE"][0], tmp_path / "a", 1, target_parameters=targets("mlp"))
    base = base_of("Qwen3-MoE", tmp_path / "base")
    name_base(tmp_path / "a", str(base))
    robustmerge.convert(tmp_path / "a", tmp_path / "p", layout="projections", base=base)
    with pytest.raises(MergeError, match="in two layouts") as caught:
        robustmerge.merge([tmp_path / "a", tmp_path / "p"], tmp_path / "m", missing=missing)
    assert "convert A -o B --layout fused --base MODEL" in caught.value.hint
    robustmerge.convert(tmp_path / "p", tmp_path / "f", layout="fused", base=base)
    robustmerge.merge([tmp_path / "a", tmp_path / "f"], tmp_path / "m", missing=missing)


@pytest.mark.parametrize("layout", ["projections", "sglang"])
def test_a_base_that_the_adapter_does_not_name_is_filled_in(tmp_path: Path, layout: str) -> None:
    build, parameters = FAMILIES["Qwen3-MoE"]
    trained(build, tmp_path / "a", 1, target_parameters=parameters[:2])
    name_base(tmp_path / "a", "")
    base = base_of("Qwen3-MoE", tmp_path / "base")
    report = robustmerge.convert(tmp_path / "a", tmp_path / "out", layout=layout, base=base)
    assert report.base == str(base)
    assert Adapter(tmp_path / "out").config.base == str(base)
