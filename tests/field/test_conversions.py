"""What is made of other kinds of adapters and of fine-tunes: nothing lost, no dead result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

import robustmerge
from derive.test_convert import ALL, SUMS, change_settings, loaded, trained
from derive.test_experts import FAMILIES, trained as trained_experts
from factories.adapters import adapter
from factories.checkpoints import base, weights
from faults.refuse import command, refused
from field.test_names_in_models import WRAPPERS

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
PROJECTOR = {f"{PREFIX}model.multi_modal_projector.linear_1.weight": torch.ones(3, 3)}
KINDS: Mapping[str, PeftConfig] = {
    **{name: SUMS[name][0] for name in ("AdaLoRA", "LoHa", "LoKr", "GraLoRA, hybrid", "VeRA")},
    **{name: SUMS[name][0] for name in ("MiSS", "MiSS, mini")},
    "DoRA": peft.LoraConfig(r=3, use_dora=True, **ALL),
    "PiSSA": peft.LoraConfig(r=3, init_lora_weights="pissa", **ALL),
}


def change(folder: Path, rule: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    save_file(rule(load_file(folder / WEIGHTS)), folder / WEIGHTS)


def convert(root: Path, **options: Any) -> Any:
    return robustmerge.convert(root / "kind", root / "out", base=root / "base", rank=3, **options)


@pytest.mark.parametrize("name", ["non_lora_trainables.bin", "mm_projector.bin"])
def test_the_projector_next_to_another_kind(tmp_path: Path, name: str) -> None:
    """Kind A: `convert` wrote the LoRA, and the trained projector next to it was gone."""
    trained(tmp_path, KINDS["LoHa"])
    torch.save(PROJECTOR, tmp_path / "kind" / name)
    report = convert(tmp_path)
    assert any("projector" in extra for extra in report.extras)
    assert robustmerge.merge([tmp_path / "out"], tmp_path / "m", method="task-arithmetic")
    held = load_file(tmp_path / "m" / WEIGHTS)
    for file in (tmp_path / "m").glob("*.bin"):
        held |= torch.load(file, weights_only=True)
    (kept,) = (tensor for each, tensor in held.items() if "projector" in each)
    assert kept.equal(torch.ones(3, 3))


@pytest.mark.parametrize("name", ["projector.pt", "new_embeddings.safetensors", "head.ckpt"])
def test_an_unknown_file_next_to_another_kind(tmp_path: Path, name: str) -> None:
    trained(tmp_path, KINDS["LoKr"])
    (tmp_path / "kind" / name).write_bytes(b"tensors")
    error = refused(lambda: convert(tmp_path), f"{name} may hold trained tensors")
    assert "non_lora_trainables.bin" in error.hint


def test_a_file_next_to_fused_experts(tmp_path: Path) -> None:
    trained_experts(FAMILIES["Mixtral"], tmp_path / "a", 1)
    torch.save(PROJECTOR, tmp_path / "a" / "non_lora_trainables.bin")
    arguments = ["convert", tmp_path / "a", "-o", tmp_path / "b", "--layout", "experts"]
    assert command(*arguments) == (0, "")
    assert (tmp_path / "b" / "non_lora_trainables.bin").is_file()
    (tmp_path / "a" / "value_head.safetensors").write_bytes(b"tensors")
    code, errors = command(*arguments, "--force")
    assert code == 1
    assert "value_head.safetensors" in errors


def test_promised_modules_of_another_kind(tmp_path: Path) -> None:
    trained(tmp_path, peft.LoHaConfig(r=2, init_weights=False, modules_to_save=["norm"], **ALL))
    change(tmp_path / "kind", lambda t: {n: v for n, v in t.items() if "norm" not in n})
    refused(lambda: convert(tmp_path), "modules_to_save names norm")


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_in_names_of_another_kind(tmp_path: Path, wrap: Callable[[str], str]) -> None:
    """Kind B: the converted LoRA had `_orig_mod.` in its names, and PEFT loaded nothing."""
    wanted = trained(tmp_path, KINDS["LoHa"])
    (tmp_path / "clean").mkdir()
    change(tmp_path / "kind", lambda t: {wrap(n.replace("hada", "lora_")): v for n, v in t.items()})
    change(tmp_path / "kind", lambda t: {n.replace("lora_", "hada"): v for n, v in t.items()})
    robustmerge.convert(tmp_path / "kind", tmp_path / "out")
    torch.testing.assert_close(loaded(tmp_path / "out"), wanted, atol=2e-5, rtol=1e-5)


def test_a_private_wrapper_in_names_of_another_kind(tmp_path: Path) -> None:
    trained(tmp_path, KINDS["LoHa"])
    change(tmp_path / "kind", lambda t: {n.replace(PREFIX, f"{PREFIX}_w."): t[n] for n in t})
    refused(lambda: convert(tmp_path), "a wrapper that no rule here knows")


DAMAGE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "an axis more": lambda t: t[None].contiguous(),
    "a row less": lambda t: t[:-1].contiguous(),
    "one axis": lambda t: t.flatten(),
    "empty": lambda t: t.new_zeros(0),
    "NaN": lambda t: t * float("nan"),
    "infinite": lambda t: t + float("inf"),
    "float8": lambda t: t.to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_tensors_of_another_kind(
    tmp_path: Path, kind: str, damage: Callable[[Tensor], Tensor]
) -> None:
    """Kind F: tracebacks of einsum, view and unpacking; a file with any tensor is answered."""
    trained(tmp_path, KINDS[kind])
    names = list(load_file(tmp_path / "kind" / WEIGHTS))
    for name in (*names[:2], names[-1]):
        whole = load_file(tmp_path / "kind" / WEIGHTS)
        change(tmp_path / "kind", lambda t, name=name: {**t, name: damage(t[name])})  # type: ignore[misc]
        code, errors = command(
            *("convert", tmp_path / "kind", "-o", tmp_path / "out", "--base", tmp_path / "base"),
            *("--rank", "2", "--force"),
        )
        assert code == (0 if "hint:" not in errors else 1)
        assert "Traceback" not in errors
        change(tmp_path / "kind", lambda _, whole=whole: whole)  # type: ignore[misc]


@pytest.mark.parametrize("kind", ["LoHa", "LoKr", "VeRA", "PiSSA", "DoRA"])
def test_a_missing_tensor_of_another_kind(tmp_path: Path, kind: str) -> None:
    trained(tmp_path, KINDS[kind])
    change(tmp_path / "kind", lambda t: dict(list(t.items())[1:]))
    error = refused(lambda: convert(tmp_path))
    assert "missing" in error.problem or "not in the file" in error.problem


WRONG: Mapping[str, tuple[str, dict[str, Any]]] = {
    "LoHa's rank": ("LoHa", {"r": 5}),
    "LoHa's rank in a pattern": ("LoHa", {"rank_pattern": {"up": 1}}),
    "MiSS's rank": ("MiSS", {"r": 3}),
    "PiSSA's rank": ("PiSSA", {"r": 9}),
    "GraLoRA's hybrid rank": ("GraLoRA, hybrid", {"hybrid_r": 0}),
    "GraLoRA's blocks": ("GraLoRA, hybrid", {"gralora_k": 2}),
    "AdaLoRA's start": ("AdaLoRA", {"init_r": "three"}),
    "alpha": ("LoHa", {"alpha": 1e300}),
}


@pytest.mark.parametrize(("kind", "settings"), WRONG.values(), ids=WRONG)
def test_settings_of_another_adapter(tmp_path: Path, kind: str, settings: dict[str, Any]) -> None:
    """Kind D: the scaling came from the tensors, or a part of the tensors was left out."""
    trained(tmp_path, KINDS[kind])
    change_settings(tmp_path / "kind", **settings)
    assert refused(lambda: convert(tmp_path)).hint


def test_the_model_card_of_a_conversion(tmp_path: Path) -> None:
    """Kinds H and I: its path on this machine, and a name that was Markdown."""
    trained(tmp_path, KINDS["LoHa"])
    change_settings(tmp_path / "kind", base_model_name_or_path="bases/`x`](http://evil)")
    (tmp_path / "kind").rename(tmp_path / "a`b")
    robustmerge.convert(tmp_path / "a`b", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert str(tmp_path) not in card
    assert "`` a`b ``" in card
    assert "`` x`](http://evil)" not in card.replace("evil)` ``", "")


def test_control_characters_in_settings_of_another_kind(tmp_path: Path) -> None:
    trained(tmp_path, KINDS["LoHa"])
    change_settings(tmp_path / "kind", base_model_name_or_path="x\x1b[2J")
    refused(lambda: convert(tmp_path), "control characters")


def test_a_base_saved_in_another_type_is_no_fine_tune(tmp_path: Path) -> None:
    """Kind D: a base in bfloat16 next to itself in float32 gave an adapter of rounding."""
    base(tmp_path / "base")
    half = {n: t.bfloat16() if t.is_floating_point() else t for n, t in weights().items()}
    base(tmp_path / "tuned", half)
    out = tmp_path / "out"
    refused(
        lambda: robustmerge.extract(tmp_path / "tuned", out, base=tmp_path / "base", rank=2),
        "the two models are the same",
    )
    name = "model.language_model.layers.0.mlp.down_proj.weight"
    half[name] = half[name] * 2
    base(tmp_path / "again", half)
    report = robustmerge.extract(tmp_path / "again", out, base=tmp_path / "base", rank=2)
    assert [m.name for m in report.modules] == [name.removesuffix(".weight")]
    assert any("rounding" in note for note in report.notes)


@pytest.mark.parametrize("size", [1e-9, 1e-12])
def test_changes_too_small_for_float16(tmp_path: Path, size: float) -> None:
    base(tmp_path / "base")
    tuned = weights()
    name = "model.language_model.layers.0.mlp.down_proj.weight"
    for tensor in (tuned[name],):
        tensor.zero_()
    base(tmp_path / "zero", tuned)
    tuned[name] = size**2 * torch.randn(tuned[name].shape)
    base(tmp_path / "tuned", tuned)
    arguments = ["extract", tmp_path / "tuned", "--base", tmp_path / "zero", "--rank", 2]
    code, errors = command(*arguments, "-o", tmp_path / "out", "--dtype", "float16")
    assert code == 1
    assert "float16 loses" in errors
    assert "--dtype float32" in errors
    assert command(*arguments, "-o", tmp_path / "out", "--dtype", "bfloat16") == (0, "")


@pytest.mark.parametrize("size", [1e-9, 1e-30])
def test_fully_trained_parameters_too_small_for_float16(tmp_path: Path, size: float) -> None:
    """A projector's bias of 1e-9 is zero in float16."""
    extras = {"model.multi_modal_projector.linear_1.bias": torch.full((6,), size)}
    source = adapter(tmp_path / "a", extras=extras)
    arguments = ["merge", source, "-m", "task-arithmetic", "-o", tmp_path / "m", "--dtype"]
    code, errors = command(*arguments, "float16")
    assert code == 1
    assert "which hold values this small" in errors
    assert command(*arguments, "bfloat16")[0] == 0


@pytest.mark.parametrize("where", ["adapter", "beside"])
@pytest.mark.parametrize(("size", "said"), [(1e-7, True), (1e-3, False)])
def test_fully_trained_parameters_of_which_float16_loses_a_part(
    tmp_path: Path, size: float, said: bool, where: str
) -> None:
    """A bias of 1e-7 is 1.2e-7 in float16: 19 % more."""
    bias = "model.multi_modal_projector.linear_1.bias"
    source = adapter(tmp_path / "a", extras={bias: torch.full((6,), size)})
    options: Any = {"method": "task-arithmetic", "dtype": "float16", "extras_in": where}
    report = robustmerge.merge([source], tmp_path / "m", **options)
    remark = any("float16 loses more than 1 %" in w and bias in w for w in report.warnings)
    assert remark == said
    record = json.loads((tmp_path / "m/merge.json").read_text())
    assert record["warnings"] == list(report.warnings)


def test_an_adapter_in_the_place_of_a_base(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", base_model_name_or_path="owner/model")
    error = refused(
        lambda: robustmerge.extract(folder, tmp_path / "o", base=folder, rank=2), "but an adapter"
    )
    assert "'owner/model'" in error.hint


def test_a_base_in_torchs_own_format(tmp_path: Path) -> None:
    """The advice works: load and save."""
    from factories.bases import text_only

    model = text_only()
    model.config.save_pretrained(tmp_path / "base")
    torch.save(model.state_dict(), tmp_path / "base" / "pytorch_model.bin")
    error = refused(
        lambda: robustmerge.extract(
            tmp_path / "base", tmp_path / "o", base=tmp_path / "base", rank=2
        ),
        "torch's own format",
    )
    assert "save_pretrained" in error.hint
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(tmp_path / "base").save_pretrained(tmp_path / "saved")
    refused(
        lambda: robustmerge.extract(
            tmp_path / "saved", tmp_path / "o", base=tmp_path / "saved", rank=2
        ),
        "the two models are the same",
    )


def test_settings_are_json_with_one_meaning(tmp_path: Path) -> None:
    trained(tmp_path, KINDS["LoHa"])
    path = tmp_path / "kind" / "adapter_config.json"
    path.write_text(path.read_text().replace("{", '{"r": 4,', 1))
    assert json.loads(path.read_text())["r"] == 2
    refused(lambda: convert(tmp_path), "r")
