"""Original-LLaVA folders: to the current names and back, the projector included."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from factories.adapters import adapter
from robustmerge.engine.merge import merge_recipe
from robustmerge.engine.recipe import Recipe

LLM = {f"model.layers.{n}.self_attn.{p}": (8, 8) for n in range(2) for p in ("q_proj", "v_proj")}


def original(folder: Path, seed: int) -> str:
    """Write a folder as the LLaVA code does."""
    adapter(folder, seed=seed, modules=LLM, binary=True, dtype=torch.bfloat16)
    g = torch.Generator().manual_seed(seed)
    shapes = {"0.weight": (6, 5), "0.bias": (6,), "2.weight": (6, 6), "2.bias": (6,)}
    projector = {
        f"base_model.model.model.mm_projector.{leaf}": torch.randn(*shape, generator=g).bfloat16()
        for leaf, shape in shapes.items()
    }
    torch.save(projector, folder / "non_lora_trainables.bin")
    (folder / "config.json").write_text(json.dumps({"model_type": "llava_llama"}))
    return str(folder)


def load(folder: str | Path, name: str) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = torch.load(Path(folder) / name, weights_only=True)
    return tensors


def test_the_original_code_can_load_the_result(tmp_path: Path) -> None:
    sources = [original(tmp_path / "a", 1), original(tmp_path / "b", 2)]
    out = tmp_path / "llava-lora"
    merge_recipe(Recipe(adapters=tuple(sources)), out)
    lora = load(out, "adapter_model.bin")
    assert lora.keys() == load(sources[0], "adapter_model.bin").keys()
    assert {t.dtype for t in lora.values()} == {torch.bfloat16}
    stored = load_file(out / "adapter_model.safetensors")
    assert all(torch.equal(stored[n], t) for n, t in lora.items())
    merged = load(out, "non_lora_trainables.bin")
    first, second = (load(s, "non_lora_trainables.bin") for s in sources)
    assert merged.keys() == first.keys()
    for name, tensor in merged.items():
        mean = ((first[name].float() + second[name].float()) / 2).bfloat16()
        assert torch.equal(tensor, mean)
    assert json.loads((out / "config.json").read_text()) == {"model_type": "llava_llama"}


def test_to_current_names_and_back(tmp_path: Path) -> None:
    source = original(tmp_path / "a", 1)
    settings = {"method": "task-arithmetic", "dtype": "float32"}
    converted = tmp_path / "hf"
    merge_recipe(Recipe(adapters=(source,), layout="hf", **settings), converted)
    tensors = load_file(converted / "adapter_model.safetensors")
    prefix = "base_model.model.model."
    before = load(source, "non_lora_trainables.bin")
    for old, new in (("mm_projector.0", "linear_1"), ("mm_projector.2", "linear_2")):
        for leaf in ("weight", "bias"):
            got = tensors[f"{prefix}multi_modal_projector.{new}.{leaf}"]
            torch.testing.assert_close(got, before[f"{prefix}{old}.{leaf}"].float())
    assert f"{prefix}language_model.layers.1.self_attn.q_proj.lora_A.weight" in tensors
    config = json.loads((converted / "adapter_config.json").read_text())
    assert config["modules_to_save"] == ["multi_modal_projector"]
    assert not (converted / "non_lora_trainables.bin").exists()

    back = tmp_path / "back"
    merge_recipe(Recipe(adapters=(str(converted),), layout="llava", **settings), back)
    after = load(back, "non_lora_trainables.bin")
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor.float())
    lora, first = load(back, "adapter_model.bin"), load(source, "adapter_model.bin")
    assert lora.keys() == first.keys()
    for name in first:
        if "lora_A" in name:
            b = name.replace("lora_A", "lora_B")
            expected = 2 * first[b].float() @ first[name].float()
            torch.testing.assert_close(lora[b] @ lora[name], expected)


def test_original_and_current_names_merge_with_each_other(tmp_path: Path) -> None:
    source = original(tmp_path / "a", 1)
    merge_recipe(Recipe(adapters=(source,), layout="hf"), tmp_path / "hf")
    both = Recipe(adapters=(source, str(tmp_path / "hf")))
    report = merge_recipe(both, tmp_path / "out")
    assert report.plan.layout == "llava"
    assert len(report.modules) == len(LLM)
