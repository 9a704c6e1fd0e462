"""Other kinds of adapters as LoRA, against PEFT's own forward pass with either."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import robustmerge
from factories.adapters import adapter, deltas
from factories.live_models import IDS, Tiny
from robustmerge.cli.app import run
from robustmerge.derive import kinds
from robustmerge.errors import MergeError

Capture = pytest.CaptureFixture[str]
BLOCKS = r".*layers.*(up|down)"


def start() -> nn.Module:
    torch.manual_seed(0)
    return Tiny().eval()


def output(model: nn.Module) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(IDS)
    return result


def trained(root: Path, config: PeftConfig, model: nn.Module | None = None) -> Tensor:
    """Save a random adapter of this kind, and the model's base; return what the two compute."""
    base = start() if model is None else model
    (root / "base").mkdir()
    save_file({k: v.clone() for k, v in base.state_dict().items()}, root / "base/model.safetensors")
    live = get_peft_model(base, config).eval()
    live.save_pretrained(str(root / "initial"))
    with torch.no_grad():
        for parameter in live.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    live.save_pretrained(str(root / "kind"))
    return output(live)


def loaded(folder: Path, model: nn.Module | None = None) -> Tensor:
    """What the original model computes with an adapter."""
    return output(PeftModel.from_pretrained(model or start(), str(folder)).eval())


ALL: Mapping[str, Any] = {"target_modules": ["up", "down"]}
SUMS: dict[str, tuple[PeftConfig, int]] = {
    "AdaLoRA": (peft.AdaLoraConfig(init_r=3, target_r=2, lora_alpha=5, total_step=9, **ALL), 3),
    "LoHa": (peft.LoHaConfig(r=2, alpha=3, init_weights=False, **ALL), 4),
    "LoHa of full rank": (peft.LoHaConfig(r=4, alpha=3, init_weights=False, **ALL), 8),
    "LoHa, patterns": (
        peft.LoHaConfig(r=2, alpha=3, rank_pattern={"down": 1}, alpha_pattern={"up": 7}, **ALL),
        4,
    ),
    "LoKr": (peft.LoKrConfig(r=2, alpha=5, init_weights=False, **ALL), 8),
    "LoKr, two products": (
        peft.LoKrConfig(
            r=1, alpha=5, init_weights=False, decompose_both=True, decompose_factor=4, **ALL
        ),
        3,
    ),
    "GraLoRA": (
        peft.GraloraConfig(r=4, alpha=6, gralora_k=2, init_weights=False, target_modules=BLOCKS),
        8,
    ),
    "GraLoRA, hybrid": (
        peft.GraloraConfig(
            r=4, alpha=6, gralora_k=4, hybrid_r=2, init_weights=False, target_modules=BLOCKS
        ),
        8,
    ),
    "DeLoRA": (peft.DeloraConfig(r=3, delora_lambda=5, init_weights=False, **ALL), 3),
    "DeLoRA, ranks": (
        peft.DeloraConfig(
            r=3, delora_lambda=5, rank_pattern={"down": 2}, init_weights=False, **ALL
        ),
        3,
    ),
    "RandLoRA": (peft.RandLoraConfig(r=3, randlora_alpha=5, init_weights=False, **ALL), 8),
    "PVeRA": (peft.PveraConfig(r=4, init_weights=False, **ALL), 4),
    "VB-LoRA": (
        peft.VBLoRAConfig(r=3, num_vectors=9, vector_length=4, topk=2, target_modules=BLOCKS),
        3,
    ),
    "VeRA": (peft.VeraConfig(r=4, init_weights=False, **ALL), 4),
    "MiSS": (peft.MissConfig(r=4, init_weights=False, **ALL), 4),
    "DEFT": (peft.DeftConfig(r=3, alpha=5, decomposition_method="qr", **ALL), 3),
    "DEFT, positive": (peft.DeftConfig(r=3, decomposition_method="relu", **ALL), 3),
    "DEFT, removal": (peft.DeftConfig(r=3, para=True, **ALL), 3),
    "MiSS, remainder": (peft.MissConfig(r=3, init_weights=False, **ALL), 3),
    "MiSS, mini": (
        peft.MissConfig(r=4, mini_r=4, init_weights="mini", target_modules=BLOCKS),
        4,
    ),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_are_exact(tmp_path: Path, name: str) -> None:
    config, rank = SUMS[name]
    wanted = trained(tmp_path, config)
    report = convert(tmp_path, base=tmp_path / "base")
    assert (wanted - output(start())).abs().max() > 0.05
    torch.testing.assert_close(loaded(tmp_path / "out"), wanted, atol=2e-5, rtol=1e-5)
    assert report.rank <= rank
    assert report.energy == pytest.approx((1, 1), abs=1e-9)


def convert(root: Path, **options: Any) -> Any:
    return robustmerge.convert(root / "kind", root / "out", **options)


@pytest.mark.parametrize("name", ["LoHa", "LoKr", "GraLoRA", "AdaLoRA"])
def test_some_kinds_need_no_base(tmp_path: Path, name: str) -> None:
    wanted = trained(tmp_path, SUMS[name][0])
    convert(tmp_path)
    torch.testing.assert_close(loaded(tmp_path / "out"), wanted, atol=2e-5, rtol=1e-5)


def test_directions_that_adalora_pruned_are_left_out(tmp_path: Path) -> None:
    trained(tmp_path, SUMS["AdaLoRA"][0])
    path = tmp_path / "kind/adapter_model.safetensors"
    tensors = load_file(path)
    for name in tensors:
        if name.endswith("lora_E"):
            tensors[name][1] = 0
    save_file(tensors, path)
    assert convert(tmp_path).rank == 2
    wanted = loaded(tmp_path / "kind")
    torch.testing.assert_close(loaded(tmp_path / "out"), wanted, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("start_of", ["pissa", "olora"])
@pytest.mark.parametrize("given", ["base", "initial"])
@pytest.mark.parametrize("renamed", [True, False])
def test_starts_that_change_the_base_are_exact(
    tmp_path: Path, start_of: str, given: str, renamed: bool
) -> None:
    config = peft.LoraConfig(r=3, lora_alpha=5, init_lora_weights=start_of, **ALL)
    wanted = trained(tmp_path, config)
    if renamed:
        settings = json.loads((tmp_path / "initial/adapter_config.json").read_text())
        settings["init_lora_weights"] = True  # as PEFT's guide to the conversion does
        (tmp_path / "initial/adapter_config.json").write_text(json.dumps(settings))
    report = convert(tmp_path, **{given: tmp_path / given})
    assert report.rank == 6
    torch.testing.assert_close(loaded(tmp_path / "out"), wanted, atol=5e-5, rtol=1e-4)


FULL: dict[str, PeftConfig] = {
    "DoRA": peft.LoraConfig(r=3, lora_alpha=5, use_dora=True, **ALL),
    "IA3": peft.IA3Config(feedforward_modules=["up", "down"], **ALL),
    "HiRA": peft.HiraConfig(r=3, **ALL),
}


@pytest.mark.parametrize("name", FULL)
def test_changes_of_full_rank_are_cut_to_a_stated_part(tmp_path: Path, name: str) -> None:
    wanted = trained(tmp_path, FULL[name])
    with pytest.raises(MergeError, match="of full rank") as caught:
        convert(tmp_path, base=tmp_path / "base")
    assert "--rank" in caught.value.hint
    assert not (tmp_path / "out").exists()
    part = convert(tmp_path, base=tmp_path / "base", rank="energy:0.9")
    assert 0.9 <= part.energy[1] < 1
    # At the full rank nothing is lost.
    robustmerge.convert(tmp_path / "kind", tmp_path / "all", base=tmp_path / "base", rank=12)
    torch.testing.assert_close(loaded(tmp_path / "all"), wanted, atol=5e-5, rtol=1e-4)
    with pytest.raises(MergeError, match="depends on the base's weight"):
        robustmerge.convert(tmp_path / "kind", tmp_path / "none", rank=2)


def test_circulant_blocks_are_of_full_rank_and_need_no_base(tmp_path: Path) -> None:
    wanted = trained(tmp_path, peft.C3AConfig(block_size=4, target_modules=BLOCKS))
    with pytest.raises(MergeError, match="of full rank"):
        convert(tmp_path)
    assert convert(tmp_path, rank=12).rank == 8
    torch.testing.assert_close(loaded(tmp_path / "out"), wanted, atol=5e-5, rtol=1e-4)


def test_every_kind_of_peft_is_converted_or_refused_with_its_reason() -> None:
    known = {*kinds.KINDS, *kinds.NO_SUM, *kinds.WITHOUT_UPDATE}
    assert {kind.value for kind in peft.PeftType} == known
    assert not kinds.KINDS.keys() & (kinds.NO_SUM.keys() | kinds.WITHOUT_UPDATE)


NO_SUM = {"HRA": peft.HRAConfig(r=2, **ALL), "FourierFT": peft.FourierFTConfig(**ALL)}


def test_shards_are_one_adapter(tmp_path: Path) -> None:
    wanted = trained(tmp_path, SUMS["LoHa"][0])
    whole = tmp_path / "kind/adapter_model.safetensors"
    tensors = sorted(load_file(whole).items())
    whole.unlink()
    names = ["adapter_model-00001-of-00002.safetensors", "adapter_model-00002-of-00002.safetensors"]
    for n, name in enumerate(names):
        save_file(dict(tensors[n::2]), tmp_path / "kind" / name)
    index = {"weight_map": {key: names[n % 2] for n, (key, _) in enumerate(tensors)}}
    (tmp_path / "kind/adapter_model.safetensors.index.json").write_text(json.dumps(index))
    report = convert(tmp_path)
    assert set(names) < set(report.inputs["adapter"])
    torch.testing.assert_close(loaded(tmp_path / "out"), wanted, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NO_SUM)
def test_the_reason_is_said_of_kinds_that_are_no_sum(tmp_path: Path, name: str) -> None:
    NO_SUM[name].save_pretrained(str(tmp_path / "kind"))
    save_file({"x": torch.ones(1)}, tmp_path / "kind/adapter_model.safetensors")
    reason = {"HRA": "multiplies the base's weight", "FourierFT": "drawn by a generator"}[name]
    with pytest.raises(MergeError, match=reason) as caught:
        convert(tmp_path)
    assert "merge_and_unload" in caught.value.hint


@pytest.mark.parametrize("rank", [1, "energy:0.7", "gavish-donoho"])
def test_a_cut_is_the_best_approximation(tmp_path: Path, rank: int | str) -> None:
    trained(tmp_path, SUMS["LoHa of full rank"][0])
    convert(tmp_path)
    report = robustmerge.convert(tmp_path / "kind", tmp_path / "cut", rank=rank)
    exact, small = deltas(tmp_path / "out"), deltas(tmp_path / "cut")
    lines = {m.name: m for m in report.modules}
    for name, delta in exact.items():
        line = lines[name.replace("model.", "model.language_model.", 1)]
        U, S, Vh = torch.linalg.svd(delta, full_matrices=False)
        k = line.rank
        if k:
            torch.testing.assert_close(small[name], U[:, :k] * S[:k] @ Vh[:k], atol=1e-5, rtol=1e-4)
        share = float(S[:k].square().sum() / S.square().sum())
        assert line.energy == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("entry", ["norm", "orm"])  # PEFT compares the last letters
def test_fully_trained_modules_are_passed_on(tmp_path: Path, entry: str) -> None:
    config = peft.LoHaConfig(r=2, init_weights=False, modules_to_save=[entry], **ALL)
    wanted = trained(tmp_path, config)
    assert set(convert(tmp_path).extras) == {"norm.weight", "norm.bias"}
    torch.testing.assert_close(loaded(tmp_path / "out"), wanted, atol=2e-5, rtol=1e-5)


def test_the_result_takes_part_in_a_merge(tmp_path: Path) -> None:
    trained(tmp_path, SUMS["LoKr"][0])
    convert(tmp_path)
    merged = robustmerge.merge(
        [tmp_path / "out", tmp_path / "out"], tmp_path / "merged", method="task-arithmetic", rank=4
    )
    assert len(merged.modules) == 5


REFUSED: dict[str, tuple[PeftConfig, str]] = {
    "OFT": (
        peft.OFTConfig(oft_block_size=4, target_modules=BLOCKS),
        "multiplies the base's weight",
    ),
    "MiSS, bat": (
        peft.MissConfig(r=4, init_weights="bat", target_modules=BLOCKS),
        "multiplies the base's blocks",
    ),
    "VeRA without its matrices": (
        peft.VeraConfig(r=4, save_projection=False, **ALL),
        "not in the file",
    ),
    "plain LoRA": (peft.LoraConfig(r=2, **ALL), "plain LoRA already"),
    "PiSSA by random numbers": (
        peft.LoraConfig(r=2, init_lora_weights="pissa_niter_4", **ALL),
        "does not follow from the base",
    ),
    "IA3 on outputs": (
        peft.IA3Config(target_modules=["up"], feedforward_modules=[]),
        "this layer's bias",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_sum_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    config, message = REFUSED[name]
    trained(tmp_path, config)
    with pytest.raises(MergeError, match=re.escape(message)) as caught:
        convert(tmp_path, base=tmp_path / "base", rank=2)
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["VeRA", "MiSS", "RandLoRA", "PVeRA"])
def test_kinds_without_input_sizes_ask_for_the_base(tmp_path: Path, name: str) -> None:
    trained(tmp_path, SUMS[name][0])
    with pytest.raises(MergeError, match="how many inputs") as caught:
        convert(tmp_path)
    assert "--base MODEL" in caught.value.hint


def change_settings(folder: Path, **settings: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_damage_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, SUMS["LoHa"][0])
    change_settings(tmp_path / "kind", unheard_of=3)
    with pytest.raises(MergeError, match="unheard_of"):
        convert(tmp_path)
    change_settings(tmp_path / "kind", unheard_of=None, peft_type="LOKR")
    with pytest.raises(MergeError, match="a tensor that LOKR of a linear layer does not have"):
        convert(tmp_path)
    change_settings(tmp_path / "kind", peft_type="PREFIX_TUNING")
    with pytest.raises(MergeError, match="changes no weight"):
        convert(tmp_path)
    change_settings(tmp_path / "kind", peft_type="LOHA")
    shapes = {k: torch.zeros(5, 5) for k in load_file(tmp_path / "base/model.safetensors")}
    save_file(shapes, tmp_path / "base/model.safetensors")
    with pytest.raises(MergeError, match=r"the weight \[5, 5\]"):
        convert(tmp_path, base=tmp_path / "base")
    (tmp_path / "other").mkdir()
    save_file({"x.weight": torch.zeros(2)}, tmp_path / "other/model.safetensors")
    with pytest.raises(MergeError, match="no linear layer"):
        convert(tmp_path, base=tmp_path / "other")


def test_the_command(tmp_path: Path, capsys: Capture) -> None:
    trained(tmp_path, SUMS["LoKr"][0])
    command = ["convert", str(tmp_path / "kind"), "-o", str(tmp_path / "out")]
    assert run(command) == 0
    assert "energy kept" in capsys.readouterr().out
    assert run([*command, "--rank", "2", "--dtype", "bfloat16", "--json", "--force"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["output"]["rank"], record["output"]["dtype"]) == (2, "BF16")
    assert run(["convert", str(adapter(tmp_path / "lora")), "-o", str(tmp_path / "no")]) == 1
    assert "robustmerge resize" in capsys.readouterr().err
