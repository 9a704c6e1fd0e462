"""LoRA on fused experts: PEFT's layout, one module per expert, merges of those, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora.layer import ParamWrapper
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import robustmerge
from factories.adapters import adapter
from factories.experts import TEXT, Build, mixtral, qwen, seeded, targets, trained as random_adapter
from robustmerge.cli.app import run
from robustmerge.errors import MergeError

Capture = pytest.CaptureFixture[str]
BOTH = targets("mlp")
FAMILIES = {"Qwen3-MoE": qwen, "Mixtral": mixtral}


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(**TEXT).logits
    return result


def trained(build: Build, folder: Path, seed: int, **settings: Any) -> dict[str, Tensor]:
    """Save a random adapter of experts; return what it adds to every parameter."""
    wanted = {"target_modules": ["q_proj"], "target_parameters": BOTH} | settings
    return random_adapter(build, folder, seed, **wanted)


def loaded(build: Build, folder: Path) -> Tensor:
    return logits(PeftModel.from_pretrained(seeded(build), str(folder)).eval())


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
    model = seeded(build)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            for weight, change in zip(weights, changes, strict=True):
                parameter.add_(weight * change[name])
    assert (logits(model) - logits(seeded(build))).abs().max() > 0.01
    torch.testing.assert_close(
        loaded(build, tmp_path / "fused"), logits(model), atol=1e-4, rtol=1e-4
    )


def test_every_expert_has_its_own_update(tmp_path: Path) -> None:
    changes = trained(qwen, tmp_path / "a", 1)
    robustmerge.convert(tmp_path / "a", tmp_path / "out", layout="experts")
    live = PeftModel.from_pretrained(seeded(qwen), str(tmp_path / "a"))
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
