"""LoRA on fused experts: PEFT's layout, one module per expert, merges of those, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import ParamWrapper
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

import robustmerge
from factories.adapters import adapter
from robustmerge.cli.app import run
from robustmerge.errors import MergeError

Capture = pytest.CaptureFixture[str]
IDS = torch.arange(20)[None]
SIZES: Mapping[str, Any] = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_experts_per_tok": 2,
}
BOTH = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def qwen() -> nn.Module:
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        moe_intermediate_size=12, intermediate_size=24, head_dim=8, num_experts=4, **SIZES
    )
    return Qwen3MoeForCausalLM(config).eval()


def mixtral() -> nn.Module:
    torch.manual_seed(0)
    return MixtralForCausalLM(
        MixtralConfig(intermediate_size=12, num_local_experts=4, **SIZES)
    ).eval()


FAMILIES = {"Qwen3-MoE": qwen, "Mixtral": mixtral}


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(IDS).logits
    return result


def trained(
    build: Callable[[], nn.Module], folder: Path, seed: int, **settings: Any
) -> dict[str, Tensor]:
    """Save a random adapter; return what it adds to every parameter, by PEFT's own arithmetic."""
    config = LoraConfig(
        **{"r": 3, "lora_alpha": 5, "target_modules": ["q_proj"], "target_parameters": BOTH}
        | settings
    )
    live = get_peft_model(build(), config).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in live.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    live.save_pretrained(str(folder))
    before = {k: v.clone() for k, v in build().state_dict().items()}
    merged = live.merge_and_unload().state_dict()
    return {name: merged[name] - tensor for name, tensor in before.items()}


def loaded(build: Callable[[], nn.Module], folder: Path) -> Tensor:
    return logits(PeftModel.from_pretrained(build(), str(folder)).eval())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_merge_of_experts_is_the_sum_in_every_parameter(tmp_path: Path, family: str) -> None:
    build, weights = FAMILIES[family], (1.0, 0.5)
    changes = [trained(build, tmp_path / name, seed) for seed, name in enumerate("ab")]
    for name in "ab":
        robustmerge.convert(tmp_path / name, tmp_path / f"{name}-experts", layout="experts")
    robustmerge.merge(
        [tmp_path / "a-experts", tmp_path / "b-experts"],
        tmp_path / "merged",
        method="task-arithmetic",
        rank="full",
        weights=weights,
    )
    robustmerge.convert(tmp_path / "merged", tmp_path / "fused", layout="fused")
    model = build()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            for weight, change in zip(weights, changes, strict=True):
                parameter.add_(weight * change[name])
    assert (logits(model) - logits(build())).abs().max() > 0.01
    torch.testing.assert_close(
        loaded(build, tmp_path / "fused"), logits(model), atol=1e-4, rtol=1e-4
    )


def test_every_expert_has_its_own_update(tmp_path: Path) -> None:
    changes = trained(qwen, tmp_path / "a", 1)
    robustmerge.convert(tmp_path / "a", tmp_path / "out", layout="experts")
    live = PeftModel.from_pretrained(qwen(), str(tmp_path / "a"))
    assert sum(isinstance(m, ParamWrapper) for m in live.modules()) == 4
    tensors = load_file(tmp_path / "out/adapter_model.safetensors")
    seen = 0
    for name, change in changes.items():
        for e, expert in enumerate(change) if change.ndim == 3 else ():
            module, _, parameter = name.rpartition(".")
            stem = f"base_model.model.{module}.{e}.{parameter}"
            A, B = tensors[f"{stem}.lora_A.weight"], tensors[f"{stem}.lora_B.weight"]
            torch.testing.assert_close(B @ A, expert, atol=1e-5, rtol=1e-5)
            seen += 1
    assert seen == 2 * 2 * 4


@pytest.mark.parametrize("alone", BOTH)
def test_one_parameter_alone_is_not_nested(tmp_path: Path, alone: str) -> None:
    trained(qwen, tmp_path / "a", 1, target_parameters=[alone], use_rslora=True)
    robustmerge.convert(tmp_path / "a", tmp_path / "experts", layout="experts")
    robustmerge.convert(tmp_path / "experts", tmp_path / "out", layout="fused")
    wanted = loaded(qwen, tmp_path / "a")
    torch.testing.assert_close(loaded(qwen, tmp_path / "out"), wanted, atol=1e-4, rtol=1e-4)
    before, after = (
        load_file(tmp_path / folder / "adapter_model.safetensors") for folder in ("a", "out")
    )
    assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def settings(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_shapes_that_do_not_settle_it_are_refused(tmp_path: Path) -> None:
    trained(qwen, tmp_path / "a", 1)
    inner = "base_model.model.model.layers.1.mlp.experts.base_layer.lora_B.weight"
    rewrite(tmp_path / "a", lambda t: t.update({inner: torch.zeros(25, 12)}))
    with pytest.raises(MergeError, match="do not say which factors are whose") as caught:
        robustmerge.convert(tmp_path / "a", tmp_path / "out", layout="experts")
    assert "layers.1" in str(caught.value)
    settings(tmp_path / "a", r=5)
    rewrite(tmp_path / "a", lambda t: t.update({inner: torch.zeros(24, 12)}))
    with pytest.raises(MergeError, match="experts times rank"):
        robustmerge.convert(tmp_path / "a", tmp_path / "out", layout="experts")
    rewrite(tmp_path / "a", lambda t: t.pop(inner))
    with pytest.raises(MergeError, match="needs both factors"):
        robustmerge.convert(tmp_path / "a", tmp_path / "out", layout="experts")
    assert not (tmp_path / "out").exists()


def test_experts_that_are_missing_are_named(tmp_path: Path) -> None:
    names = [f"model.layers.0.mlp.experts.{e}.down_proj" for e in (0, 2)]
    adapter(tmp_path / "a", modules=dict.fromkeys(names, (6, 4)))
    with pytest.raises(MergeError, match="3 experts, of which 1 has no down_proj"):
        robustmerge.convert(tmp_path / "a", tmp_path / "out", layout="fused")
    plain = adapter(tmp_path / "plain")
    with pytest.raises(MergeError, match="no module of a single expert"):
        robustmerge.convert(plain, tmp_path / "out", layout="fused")
    with pytest.raises(MergeError, match="no fused experts"):
        robustmerge.convert(plain, tmp_path / "out", layout="experts")
    with pytest.raises(MergeError, match="needs nothing of it"):
        robustmerge.convert(plain, tmp_path / "out", layout="experts", rank=2)


def test_the_command_converts_there_and_back(tmp_path: Path, capsys: Capture) -> None:
    trained(qwen, tmp_path / "a", 1)
    out = tmp_path / "out"
    assert run(["convert", str(tmp_path / "a"), "-o", str(out), "--layout", "experts"]) == 0
    assert "energy kept" in capsys.readouterr().out
    assert run(["convert", str(out), "-o", str(tmp_path / "b"), "--layout", "fused"]) == 0
