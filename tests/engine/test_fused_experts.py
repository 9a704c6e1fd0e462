"""Adapters on fused experts and convolutions, merged as they are: against PEFT's own models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import robustmerge
from factories.experts import FAMILIES, TEXT, Build, batch, qwen, seeded, targets, trained
from robustmerge.adapter import factor_writer, tensor_ref
from robustmerge.adapter.reader import Adapter
from robustmerge.cli.app import run
from robustmerge.engine import job
from robustmerge.engine.plan import make_plan
from robustmerge.errors import MergeError
from robustmerge.export import export_adapter

WEIGHTS = (1.0, 0.5)


def check_sum(
    build: Build,
    folder: Path,
    inputs: Mapping[str, Tensor],
    first: Callable[[Any], Tensor] = lambda output: output.logits,
    **settings: Any,
) -> None:
    """Merge two adapters; compare PEFT's forward of the merge with the base plus the dense sum."""
    changes = [trained(build, folder / name, seed, **settings) for seed, name in enumerate("ab")]
    robustmerge.merge(
        [folder / "a", folder / "b"],
        folder / "merged",
        method="task-arithmetic",
        rank="full",
        weights=WEIGHTS,
    )
    model = seeded(build)
    with torch.no_grad():
        alone = first(model(**inputs))
        for name, parameter in model.named_parameters():
            for weight, change in zip(WEIGHTS, changes, strict=True):
                parameter.add_(weight * change[name])
        expected = first(model(**inputs))
        live = PeftModel.from_pretrained(seeded(build), str(folder / "merged")).eval()
        torch.testing.assert_close(first(live(**inputs)), expected, atol=1e-3, rtol=1e-4)
    assert (alone - expected).abs().max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_a_merge_of_fused_experts_is_the_dense_sum(tmp_path: Path, family: str) -> None:
    build, parameters = FAMILIES[family]
    linear = ["q_proj", "patch_embed.proj", "qkv"] if family == "Qwen3-VL-MoE" else ["q_proj"]
    settings = {"target_modules": linear, "target_parameters": parameters}
    check_sum(build, tmp_path, batch(family), **settings)
    names = [set(load_file(tmp_path / f / "adapter_model.safetensors")) for f in ("a", "merged")]
    assert names[0] == names[1]
    assert run(["check", str(tmp_path / "merged"), "--for", "peft"]) == 0
    assert run(["show", str(tmp_path / "a"), str(tmp_path / "b")]) == 0


def test_experts_alone_need_no_target_modules(tmp_path: Path) -> None:
    check_sum(qwen, tmp_path, TEXT, target_parameters=targets("mlp"), target_modules=[])


def test_merging_in_place_is_merging_single_experts(tmp_path: Path) -> None:
    settings = {"target_modules": ["q_proj"], "target_parameters": targets("mlp")}
    for seed, name in enumerate("ab"):
        trained(qwen, tmp_path / name, seed, **settings)
        robustmerge.convert(tmp_path / name, tmp_path / f"{name}-x", layout="experts")
    for suffix in ("", "-x"):
        robustmerge.merge(
            [tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"], tmp_path / f"m{suffix}", rank=3
        )
    robustmerge.convert(tmp_path / "m-x", tmp_path / "back", layout="fused")
    one, other = (load_file(tmp_path / n / "adapter_model.safetensors") for n in ("m", "back"))
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], atol=1e-6, rtol=1e-6)


def test_adapters_in_two_layouts_are_merged_in_the_first(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        trained(qwen, tmp_path / name, seed, target_parameters=targets("mlp"))
    robustmerge.convert(tmp_path / "b", tmp_path / "b-x", layout="experts")
    merged = [
        robustmerge.merge([tmp_path / "a", tmp_path / b], tmp_path / f"m{b}", rank=3)
        for b in ("b", "b-x")
    ]
    one, other = (load_file(tmp_path / n / "adapter_model.safetensors") for n in ("mb", "mb-x"))
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert not any("experts are written" in text for text in merged[0].warnings)
    assert any("experts are written fused" in text for text in merged[1].warnings)


def test_pieces_of_few_experts_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate("ab"):
        trained(qwen, tmp_path / name, seed, target_parameters=targets("mlp"))
    robustmerge.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "m", rank=3)
    for module in (factor_writer, tensor_ref):
        monkeypatch.setattr(module, "CHUNK", 3 * 3 * 24 * 4)  # three experts of gate_up_proj
        monkeypatch.setattr(module, "_BAND", 500)
    robustmerge.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "n", rank=3)
    one, other = ((tmp_path / n / "adapter_model.safetensors").read_bytes() for n in "mn")
    assert one == other


@pytest.mark.parametrize("method", ["drift", "task-arithmetic", "robustmerge"])
def test_experts_merged_together_are_merged_as_if_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    for seed, name in enumerate("abc"):
        trained(qwen, tmp_path / name, seed, target_parameters=targets("mlp"))
    inputs, steps = [tmp_path / name for name in "abc"], []
    settings = {
        "method": method,
        "rank": 2,
        "progress": lambda done, all_: steps.append((done, all_)),
    }
    together = robustmerge.merge(inputs, tmp_path / "m", **settings)
    sizes = [len(batch.jobs) for batch in job.batches(make_plan(together.recipe).jobs)]
    assert sizes == [8, 8]  # two parameters of four experts in either layer
    assert steps[-1] == (16, 16)
    monkeypatch.setattr(job, "_TOGETHER", 0)
    alone = robustmerge.merge(inputs, tmp_path / "n", **settings)
    assert [line.name for line in together.modules] == [line.name for line in alone.modules]
    for one, other in zip(together.modules, alone.modules, strict=True):
        assert one.energy == pytest.approx(other.energy, rel=1e-9)
    first, second = (load_file(tmp_path / n / "adapter_model.safetensors") for n in "mn")
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], atol=1e-6, rtol=1e-6)


def test_an_expert_is_read_again_as_it_is(tmp_path: Path) -> None:
    trained(qwen, tmp_path / "a", 1, target_parameters=targets("mlp"))
    adapter = Adapter(tmp_path / "a")
    name = next(n for n in adapter.modules if n.endswith("down_proj"))
    first, again = adapter.factors(name).dense(), adapter.factors(name).dense()
    assert torch.equal(first, again)


def test_an_expert_that_is_left_out_is_zero(tmp_path: Path) -> None:
    trained(qwen, tmp_path / "a", 1, target_parameters=targets("mlp"))
    report = robustmerge.merge(
        [tmp_path / "a"],
        tmp_path / "m",
        method="task-arithmetic",
        leave_out=["*.experts.2.*"],
    )
    assert any("left out" in text for text in report.warnings)
    merged, before = Adapter(tmp_path / "m"), Adapter(tmp_path / "a")
    for name in before.modules:
        difference = merged.factors(name).dense() - before.factors(name).dense()
        if ".experts.2." in name:
            assert not merged.factors(name).dense().any()
        else:
            assert difference.abs().max() < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_baking_experts_into_the_checkpoint_of_their_family(tmp_path: Path, family: str) -> None:
    """Checkpoints of Qwen3-MoE and Mixtral have single experts, Qwen3-VL-MoE's are transposed."""
    build, parameters = FAMILIES[family]
    settings = {"target_modules": ["q_proj"], "target_parameters": parameters}
    changes = trained(build, tmp_path / "a", 1, **settings)
    model, base, out = seeded(build), tmp_path / "base", tmp_path / "out"
    model.save_pretrained(str(base))
    export_adapter(tmp_path / "a", out, format="full", base=str(base))
    baked = type(model).from_pretrained(str(out)).state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(baked[name], tensor + changes[name], atol=1e-5, rtol=1e-5)
    assert run(["check", str(tmp_path / "a"), "--base", str(base), "--for", "peft"]) == 0


def test_baking_fused_experts_into_a_base(tmp_path: Path) -> None:
    changes = trained(qwen, tmp_path / "a", 1, target_parameters=targets("mlp"))
    model, base = seeded(qwen), tmp_path / "base"
    model.config.save_pretrained(base)
    save_file({k: v.clone() for k, v in model.state_dict().items()}, base / "model.safetensors")
    out = tmp_path / "out"
    export_adapter(tmp_path / "a", out, format="full", base=str(base))
    baked = load_file(out / "model.safetensors")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(baked[name], tensor + changes[name], atol=1e-5, rtol=1e-5)
    assert run(["check", str(tmp_path / "a"), "--base", str(base), "--for", "peft"]) == 0


def test_two_parameters_whose_shapes_say_nothing_are_refused(tmp_path: Path) -> None:
    trained(qwen, tmp_path / "a", 1, target_parameters=targets("mlp"))
    file = tmp_path / "a" / "adapter_model.safetensors"
    tensors = {
        k: torch.cat([v, v]).contiguous() if k.endswith("lora_B.weight") else v
        for k, v in load_file(file).items()
    }
    save_file(tensors, file)
    with pytest.raises(MergeError, match="do not say which factors are whose"):
        Adapter(tmp_path / "a")


class Convolutions(nn.Module):
    """A patch embedding, and convolutions of one and three axes."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 2, stride=2)
        self.line = nn.Conv1d(8, 6, 3)
        self.volume = nn.Conv3d(1, 4, 2)
        self.pointwise = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.line(self.patches(x).flatten(2))  # [batch, 6, length]
        z = self.volume(y.unflatten(2, (2, -1))[:, None])
        return self.pointwise(z.flatten(3))


def test_convolutions_are_merged_as_matrices(tmp_path: Path) -> None:
    torch.manual_seed(1)
    names = ["patches", "line", "volume", "pointwise"]
    check_sum(
        Convolutions,
        tmp_path,
        {"x": torch.randn(2, 3, 8, 8)},
        first=lambda y: y,
        target_modules=names,
    )
    shapes = {
        folder: {
            name: tensor.ndim
            for name, tensor in load_file(tmp_path / folder / "adapter_model.safetensors").items()
        }
        for folder in ("a", "merged")
    }
    assert shapes["a"] == shapes["merged"]
