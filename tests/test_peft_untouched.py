"""Merging on a live PeftModel changes nothing else, and on an error nothing at all."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

import robustmerge.live.loaded
import robustmerge.peft
from factories.live_models import IDS, PLAIN, Tiny, assert_kept, deltas, factors, run, state, tiny
from robustmerge import MergeError
from robustmerge.peft import add_merged_adapter


@pytest.mark.parametrize("active", [["one"], ["two"], ["one", "two"]])
@pytest.mark.parametrize("training", [True, False])
def test_everything_else_stays_as_it_was(active: list[str], training: bool) -> None:
    model = tiny({"one": {"target_modules": ["down"]}, "two": {"lora_dropout": 0.1}})
    model.base_model.set_adapter(active)
    model.train(training)
    model.get_base_model().norm.train(not training)
    model.get_base_model().norm.weight.requires_grad_(True)
    first = next(p for n, p in model.named_parameters() if f".{active[0]}." in n)
    first.requires_grad_(False)
    before = state(model)
    add_merged_adapter(model, ["one", "two"], "m")
    after = state(model)
    assert_kept(before, after)
    new = {n: after["gradients"][n] for n in after["gradients"].keys() - before["gradients"].keys()}
    assert len(new) == 2 * 6
    assert not any(new.values())
    model.set_adapter("m")
    assert all(p.requires_grad for n, p in model.named_parameters() if ".m." in f"{n}.")


def test_gradients_stay_where_peft_changes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    # Earlier releases made the active adapter trainable when another one was added.
    real = PeftModel.add_adapter

    def earlier(model: PeftModel, name: str, config: LoraConfig) -> None:
        real(model, name, config)
        model.base_model.set_adapter(model.active_adapters)

    model = tiny({"one": {}, "two": {}})
    model.requires_grad_(False)
    monkeypatch.setattr(PeftModel, "add_adapter", earlier)
    add_merged_adapter(model, ["one", "two"], "m")
    assert not any(p.requires_grad for p in model.parameters())


def test_disabled_adapters_stay_disabled() -> None:
    model = tiny(PLAIN)
    with model.disable_adapter(), torch.no_grad():
        before = model(IDS)
        add_merged_adapter(model, ["one", "two"], "m")
        assert torch.equal(model(IDS), before)
    assert not torch.equal(run(model, "one"), before)


def test_layers_whose_names_end_alike_are_left_out() -> None:
    # PEFT's target "up" means "layers.0.up" as well, which three has and the others have not.
    targets = {"one": "up", "two": "up|embed", "three": r".*\.up"}
    model = tiny({name: {"target_modules": target} for name, target in targets.items()})
    added = add_merged_adapter(model, ["one", "two"], "m", method="task-arithmetic")
    assert {n for n, delta in deltas(model, "m").items() if delta.any()} == {"up", "embed"}
    assert {module.name for module in added.modules} == {"up", "embed"}
    add_merged_adapter(model, ["three"], "n")
    assert model.peft_config["n"].exclude_modules is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_new_adapter_has_the_type_of_the_old_ones(dtype: torch.dtype) -> None:
    model = tiny({"one": {"r": 4}, "two": {"r": 4}}).to(dtype)
    add_merged_adapter(model, ["one", "two"], "m", method="task-arithmetic", rank="full")
    assert {p.dtype for p in factors(model, "m").values()} == {dtype}
    for layer, delta in deltas(model.double(), "m").items():
        wanted = deltas(model, "one")[layer] + deltas(model, "two")[layer]
        error = (delta - wanted).abs().max() / wanted.abs().max()
        assert error < 20 * torch.finfo(dtype).eps


def test_widest_type_wins() -> None:
    model = tiny({"one": {"r": 4}, "two": {"r": 4}})
    for name, parameter in model.named_parameters():
        if ".one." in f"{name}.":
            parameter.data = parameter.data.half()
    add_merged_adapter(model, ["one", "two"], "m")
    add_merged_adapter(model, ["one"], "n")
    assert {p.dtype for p in factors(model, "m").values()} == {torch.float32}
    assert {p.dtype for p in factors(model, "n").values()} == {torch.float16}


# Refusals


def refused(
    model: PeftModel, adapters: Sequence[str], match: str, name: str = "m", **more: Any
) -> MergeError:
    before = state(model)
    with pytest.raises(MergeError, match=match) as caught:
        add_merged_adapter(model, adapters, name, **more)
    assert caught.value.hint
    after = state(model)
    assert before["adapters"] == after["adapters"]
    assert before["held"] == after["held"]
    assert_kept(before, after)
    return caught.value


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"use_dora": True}, "use_dora is set"),
        ({"lora_bias": True, "target_modules": ["down"]}, "lora_bias is set"),
        ({"bias": "lora_only"}, "bias = 'lora_only'"),
        ({"modules_to_save": ["norm"]}, r"fully trained parameters \(modules_to_save\)"),
        (
            {"trainable_token_indices": {"embed": [1, 2]}, "target_modules": ["down"]},
            r"fully trained parameters \(trainable_tokens_delta\)",
        ),
        ({"init_lora_weights": "pissa", "target_modules": ["down"]}, "changed base weights"),
    ],
    ids=["dora", "lora-bias", "bias", "modules-to-save", "tokens", "pissa"],
)
def test_more_than_plain_lora_is_refused(settings: Mapping[str, Any], match: str) -> None:
    model = tiny({"one": settings, "two": {"target_modules": ["down"]}})
    error = refused(model, ["two", "one"], match)
    assert "'one'" in f"{error.problem} {error.where}"
    add_merged_adapter(model, ["two"], "m")  # what others are does not matter


def test_whole_parameters_point_to_folders() -> None:
    model = tiny({"one": {"modules_to_save": ["norm"]}, "two": {}})
    assert "merge their folders" in refused(model, ["one", "two"], "fully trained").hint


def test_convolutions_are_refused() -> None:
    model = tiny({"one": {"target_modules": ["0"]}}, nn.Sequential(nn.Conv2d(3, 4, 2), nn.ReLU()))
    assert refused(model, ["one"], "'one' is on a Conv2d").where == "0"


def test_attention_as_a_whole_is_refused() -> None:
    base = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2)})
    model = tiny({"one": {"target_modules": ["attention"]}}, base)
    refused(model, ["one"], "'one' is on a MultiheadAttention")


def test_names_are_checked() -> None:
    model = tiny({"vqa": {}, "ocr": {}})
    assert refused(model, ["vqa", "ocd"], "unknown adapter 'ocd'").hint == "did you mean ocr?"
    refused(model, ["vqa", "ocr"], "already has an adapter 'ocr'", name="ocr")
    for name in ("", "v1.2", "keys"):
        refused(model, ["vqa", "ocr"], "cannot be called", name=name)
    refused(model, [], "no adapters")
    refused(model, "vqa", "adapters must be a list")


def unchecked(module: ModuleType) -> Any:
    """Load a module again, without the type check that tests have and users do not."""
    package, _, file = module.__name__.rpartition(".")
    name = f"{package}._plain_{file}"
    spec = importlib.util.spec_from_file_location(name, module.__file__)
    assert spec is not None
    assert spec.loader is not None
    plain = importlib.util.module_from_spec(spec)
    sys.modules[name] = plain
    spec.loader.exec_module(plain)
    return plain


def test_other_models_are_refused() -> None:
    plain, plain_landed = unchecked(robustmerge.peft), unchecked(robustmerge.live.loaded)
    with pytest.raises(MergeError, match="Tiny is not a PeftModel"):
        plain.add_merged_adapter(Tiny(), ["one"], "m")
    with pytest.raises(MergeError, match="Tiny is not a PeftModel"):
        plain_landed.landed(Tiny(), "one")
    mixed = get_peft_model(Tiny(), LoraConfig(target_modules=["up"]), mixed=True)
    with pytest.raises(MergeError, match="PeftMixedModel is not a PeftModel"):
        plain.add_merged_adapter(mixed, ["default"], "m")


def test_settings_are_checked() -> None:
    model = tiny(PLAIN)
    refused(model, ["one", "two"], "3 weights for 2 adapters", weights=[1.0, 2.0, 3.0])
    refused(model, ["one", "two"], "not a finite number", weights=[1.0, math.nan])
    refused(model, ["one", "two"], "rank = 0 is not possible", rank=0)
    refused(model, ["one", "two"], "rank = 'energy:2' is not possible", rank="energy:2")
    assert "ridge" in refused(model, ["one", "two"], "unknown parameter", rigde=0.5).hint
    assert (
        "robustmerge" in refused(model, ["one", "two"], "unknown method", method="robustmerg").hint
    )


def test_merged_base_weights_are_refused() -> None:
    model = tiny(PLAIN)
    model.merge_adapter(["two"])
    refused(model, ["one", "three"], "two is merged into the base weights")


def test_values_out_of_range_are_refused() -> None:
    model = tiny({"one": {"r": 4}, "two": {"r": 4}}).half()
    refused(model, ["one", "two"], "exceed torch.float16", scale=1e9)
    model.get_submodule("base_model.model.model.layers.0.down").lora_A["two"].weight.data[0, 0] = (
        math.nan
    )
    assert refused(model, ["one", "two"], "'two' has NaN").where.endswith("layers.0.down")


@pytest.mark.parametrize(
    "change", [{"target_modules": ["embed"]}, {"target_modules": ["up", "down", "embed", "norm"]}]
)
def test_layers_other_than_asked_for_are_noticed(
    change: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(
        {"one": {"target_modules": ["down", "embed"]}, "two": {"target_modules": ["down"]}}
    )
    real = robustmerge.peft._settings

    def wrong(*arguments: Any) -> LoraConfig:
        config = real(*arguments)
        for field, value in change.items():
            setattr(config, field, set(value) - {"norm"})
        return config

    monkeypatch.setattr(robustmerge.peft, "_settings", wrong)
    before = run(model, "one")
    with pytest.raises(MergeError, match="other layers or values than were merged"):
        add_merged_adapter(model, ["one", "two"], "m")
    assert list(model.peft_config) == ["one", "two"]
    assert not factors(model, "m")
    assert torch.equal(run(model, "one"), before)
