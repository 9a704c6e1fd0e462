"""Merging on a live PeftModel, against files, against PEFT, and against what layers compute."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import robustmerge
import robustmerge.peft
from families import LANGUAGE, attach, build, logits, not_landed, save_adapter
from robustmerge import MergeError, methods
from robustmerge.peft import add_merged_adapter, landed

WEIGHTS = "adapter_model.safetensors"
ALL = ["up", "down", "embed"]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(x).tanh())


class Tiny(nn.Module):
    """Embeddings, two blocks, a last layer whose name ends the names of others."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.model = nn.ModuleDict({"layers": nn.ModuleList([Block(), Block()])})
        self.up = nn.Linear(8, 9)
        self.norm = nn.LayerNorm(8)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for block in self.model["layers"]:
            x = block(x)
        return self.up(self.norm(x))


IDS = torch.arange(11)[None]


def tiny(adapters: Mapping[str, Mapping[str, Any]], base: nn.Module | None = None) -> PeftModel:
    """A tiny model with adapters of these settings, none of them zero, in evaluation mode."""
    torch.manual_seed(0)
    made = [(n, LoraConfig(**({"target_modules": ALL} | dict(c)))) for n, c in adapters.items()]
    model = get_peft_model(base or Tiny(), made[0][1], adapter_name=made[0][0])
    for name, config in made[1:]:
        model.add_adapter(name, config)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            nn.init.normal_(parameter)
    return model.eval()


def run(model: PeftModel, adapter: str) -> Tensor:
    """What the model computes with one adapter."""
    before = model.active_adapters
    model.set_adapter(adapter)
    with torch.no_grad():
        output: Tensor = model(IDS)
    model.base_model.set_adapter(before)
    return output


def deltas(model: PeftModel, adapter: str) -> dict[str, Tensor]:
    """What an adapter adds to each layer, from the layers' own forward passes."""
    before, found = model.active_adapters, {}
    model.set_adapter(adapter)
    for name, layer in model.get_base_model().named_modules():
        if isinstance(layer, LoraLayer):
            base = layer.get_base_layer()
            embedding = isinstance(base, nn.Embedding)
            eye = torch.eye(layer.in_features, dtype=base.weight.dtype)
            x = torch.arange(11) if embedding else eye
            with torch.no_grad():
                found[name] = layer(x) - base(x)
    model.base_model.set_adapter(before)
    return found


def factors(model: PeftModel, adapter: str) -> dict[str, Tensor]:
    """An adapter's parameters by name, without the adapter's own."""
    return {
        ".".join(part for part in name.split(".") if part != adapter): parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if adapter in name.split(".")
    }


def assert_weighted_sum(model: PeftModel, merged: str, weights: Mapping[str, float]) -> None:
    """Every layer's delta under `merged` is the weighted sum of those of the adapters."""
    parts = {name: deltas(model, name) for name in weights}
    for layer, delta in deltas(model, merged).items():
        wanted = sum(w * parts[name][layer] for name, w in weights.items())
        assert isinstance(wanted, Tensor)
        assert wanted.abs().max() > 0.5
        torch.testing.assert_close(delta, wanted, atol=1e-9, rtol=1e-9)


# Same as from files


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[PeftModel, list[str]]:
    """A model with two adapters, and the same adapters in folders."""
    root = tmp_path_factory.mktemp("saved")
    model = tiny({"one": {"r": 4, "lora_alpha": 3}, "two": {"r": 6, "use_rslora": True}})
    model.save_pretrained(str(root))
    return model, [str(root / "one"), str(root / "two")]


@pytest.mark.parametrize(
    ("name", "more"),
    [pytest.param(method.name, {}, id=method.name) for method in methods.every()]
    + [
        pytest.param("task-arithmetic", {"rank": rank}, id=rank)
        for rank in ("input", "full", "energy:0.9")
    ]
    # This one takes a pass over the whole model first.
    + [pytest.param("ties", {"flavor": "paper", "weights": None}, id="ties-paper")],
)
def test_same_as_merging_folders(
    name: str, more: Mapping[str, Any], saved: tuple[PeftModel, list[str]], tmp_path: Path
) -> None:
    model, folders = saved
    settings: dict[str, Any] = {"weights": [1.0, 0.5], "scale": 0.7, "rank": 3, "seed": 3, **more}
    report = robustmerge.merge(folders, tmp_path / "out", method=name, **settings)
    added = add_merged_adapter(model, ["one", "two"], "m", method=name, **settings)
    try:
        assert added.rank == report.rank
        assert added.modules == report.modules
        assert added.energy == report.energy
        live = factors(model, "m")
        stored = load_file(tmp_path / "out" / WEIGHTS)
        assert live.keys() == stored.keys()
        assert all(torch.equal(live[key], stored[key]) for key in live)
        landed(model, tmp_path / "out", "m")
    finally:
        model.delete_adapter("m")


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
@pytest.mark.parametrize("settings", [{}, {"method": "task-arithmetic", "rank": 5}])
def test_same_logits_as_merging_folders(
    family: str, settings: Mapping[str, Any], tmp_path: Path
) -> None:
    a = save_adapter(family, tmp_path / "one", seed=1, rank=4, targets="all-linear")
    b = save_adapter(family, tmp_path / "two", seed=2, rank=2, alpha=3, rslora=True)
    model = attach(build(family), a)
    model.load_adapter(str(b), "two")
    before = logits(family, model)
    added = add_merged_adapter(model, ["default", "two"], "m", **settings)
    assert torch.equal(logits(family, model), before)
    report = robustmerge.merge([a, b], tmp_path / "m", missing="zero", **settings)
    assert added.modules == report.modules
    again = attach(build(family), tmp_path / "m")
    assert not_landed(again, tmp_path / "m") == []
    model.set_adapter("m")
    assert torch.equal(logits(family, model), logits(family, again))
    assert (logits(family, model) - before).abs().max() > 0.1


def test_new_adapter_can_be_saved_and_loaded(tmp_path: Path) -> None:
    a = save_adapter("llava", tmp_path / "one", seed=1, rank=4, targets="all-linear")
    b = save_adapter("llava", tmp_path / "two", seed=2, rank=2, alpha=3, rslora=True)
    model = attach(build("llava"), a)
    model.load_adapter(str(b), "two")
    add_merged_adapter(model, ["two", "default"], "m")
    model.peft_config["m"].base_model_name_or_path = None  # PEFT would look it up online
    model.save_pretrained(str(tmp_path), selected_adapters=["m"])
    again = attach(build("llava"), tmp_path / "m")
    landed(again, tmp_path / "m")
    model.set_adapter("m")
    assert torch.equal(logits("llava", again), logits("llava", model))


# Against PEFT, where PEFT is right

PLAIN: Mapping[str, Mapping[str, Any]] = {
    "one": {"r": 4, "lora_alpha": 3},
    "two": {"r": 6, "lora_alpha": 16, "alpha_pattern": {r"layers.1.up": 5}},
    "three": {"r": 2, "target_modules": ["down", "embed"]},
}


def test_full_rank_sum_is_pefts_cat() -> None:
    model, names, weights = tiny(PLAIN).double(), ["one", "two", "three"], [1.0, -0.5, 2.0]
    model.add_weighted_adapter(names, weights, "theirs", combination_type="cat")
    added = add_merged_adapter(
        model, names, "ours", method="task-arithmetic", weights=weights, rank="full"
    )
    assert added.rank <= model.peft_config["theirs"].r == 12
    torch.testing.assert_close(run(model, "ours"), run(model, "theirs"), atol=1e-9, rtol=1e-9)
    assert_weighted_sum(model, "ours", dict(zip(names, weights, strict=True)))


@pytest.mark.parametrize("rank", [2, 5, 7])
def test_sum_at_a_rank_is_pefts_svd(rank: int) -> None:
    model, names, weights = tiny(PLAIN).double(), ["one", "two", "three"], [1.0, -0.5, 2.0]
    model.add_weighted_adapter(names, weights, "theirs", combination_type="svd", svd_rank=rank)
    add_merged_adapter(model, names, "ours", method="task-arithmetic", weights=weights, rank=rank)
    ours, theirs = deltas(model, "ours"), deltas(model, "theirs")
    for layer, delta in ours.items():
        torch.testing.assert_close(delta, theirs[layer], atol=1e-9, rtol=1e-9)
        assert torch.linalg.matrix_rank(delta, rtol=1e-4) <= rank


@pytest.mark.parametrize(
    ("settings", "times"),
    [
        ({"method": "average"}, 9.0),  # (ΣA / T)(ΣB / T), T = 3
        (
            {"method": "robustmerge", "prune": False, "scaling": False, "gain_A": 1, "gain_B": 1},
            3.0,
        ),
    ],
    ids=["average", "robustmerge"],
)
def test_sums_of_factors_are_multiples_of_pefts_linear(
    settings: Mapping[str, Any], times: float
) -> None:
    same = {"r": 4, "lora_alpha": 6}
    names = ["one", "two", "three"]
    model = tiny(dict.fromkeys(names, same)).double()
    model.add_weighted_adapter(names, [1.0] * 3, "theirs", combination_type="linear")
    add_merged_adapter(model, names, "ours", scale=times, **settings)
    ours, theirs = deltas(model, "ours"), deltas(model, "theirs")
    for layer, delta in ours.items():
        torch.testing.assert_close(
            delta, theirs[layer], atol=1e-4, rtol=1e-6
        )  # its square roots are float32


# Against what the layers compute, where PEFT 0.21 is wrong or gives up

RANKS = {"rank_pattern": {"up": 2, r"layers.0.down": 7}}
ALPHAS = {"alpha_pattern": {"down": 1, "embed": 20}}


@pytest.mark.parametrize("rank", ["full", 12])
@pytest.mark.parametrize(
    "first",
    [{"use_rslora": True}, RANKS, {**RANKS, **ALPHAS, "use_rslora": True}, {"lora_alpha": 1}],
    ids=["rslora", "rank-pattern", "patterns-rslora", "alpha"],
)
def test_sum_counts_every_scaling(first: Mapping[str, Any], rank: int | str) -> None:
    model = tiny({"one": {"r": 4, **first}, "two": {"r": 4, **ALPHAS}}).double()
    weights = {"one": 1.0, "two": -0.5}
    add_merged_adapter(
        model, [*weights], "m", method="task-arithmetic", weights=[*weights.values()], rank=rank
    )
    assert_weighted_sum(model, "m", weights)


def test_weight_zero_leaves_the_other_adapter() -> None:
    model = tiny({"one": {"r": 3, "use_rslora": True, "lora_alpha": 5}, "two": {"r": 6}})
    model.double()
    for names, weights in [(["one", "two"], [1.0, 0.0]), (["two", "one"], [0.0, 1.0])]:
        add_merged_adapter(model, names, "m", method="task-arithmetic", weights=weights)
        torch.testing.assert_close(run(model, "m"), run(model, "one"), atol=1e-9, rtol=1e-9)
        model.delete_adapter("m")


def test_layers_that_an_adapter_lacks_are_no_update_there() -> None:
    model = tiny(
        {"one": {"target_modules": ["down"]}, "two": {"target_modules": ["embed", "down"]}}
    ).double()
    add_merged_adapter(model, ["one", "two"], "m", method="task-arithmetic", rank="full")
    assert set(deltas(model, "m")) == {"embed", "model.layers.0.down", "model.layers.1.down"}
    assert_weighted_sum(model, "m", {"one": 1.0, "two": 1.0})


def test_settings_are_plain_lora_of_alpha_rank() -> None:
    model = tiny(
        {"one": {"r": 4, "use_rslora": True, "lora_dropout": 0.5, **ALPHAS}, "two": {"r": 6}}
    )
    first = model.peft_config["one"]
    first.base_model_name_or_path, first.revision = "tiny/base", "v2"
    first.task_type = "FEATURE_EXTRACTION"
    added = add_merged_adapter(model, ["one", "two"], "m")
    config = model.peft_config["m"]
    assert (config.base_model_name_or_path, config.revision) == ("tiny/base", "v2")
    assert config.task_type == "FEATURE_EXTRACTION"
    assert (config.r, config.lora_alpha, config.use_rslora) == (6, 6, False)
    assert (config.rank_pattern, config.alpha_pattern, config.lora_dropout) == ({}, {}, 0.0)
    assert added.rank == 6
    layers = [m for m in model.modules() if isinstance(m, LoraLayer)]
    assert {layer.scaling["m"] for layer in layers} == {1.0}


# Nothing else changes


def state(model: PeftModel) -> dict[str, Any]:
    """Whatever a user may have set on a model or its adapters."""
    modules = [m for m in model.modules() if isinstance(m, LoraLayer)]
    return {
        "adapters": list(model.peft_config),
        "active": (model.active_adapters, {tuple(m.active_adapters) for m in modules}),
        "disabled": {m.disable_adapters for m in modules},
        "gradients": {n: p.requires_grad for n, p in model.named_parameters()},
        "training": {n: m.training for n, m in model.named_modules()},
        "values": {n: p.detach().clone() for n, p in model.named_parameters()},
        "random": torch.get_rng_state(),
        "held": sorted(n for m in modules for n in (*m.lora_A, *m.lora_embedding_A, *m.r)),
    }


def assert_kept(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for field in ("active", "disabled"):
        assert before[field] == after[field]
    for field in ("gradients", "training"):
        assert before[field].items() <= after[field].items()
    for name, value in before["values"].items():
        assert torch.equal(value.nan_to_num(7), after["values"][name].nan_to_num(7))
    assert torch.equal(before["random"], after["random"])


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


def refused(model: PeftModel, adapters: Sequence[str], match: str, name: str = "m", **more: Any):
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
        ({"modules_to_save": ["norm"]}, r"trained whole \(modules_to_save\)"),
        (
            {"trainable_token_indices": {"embed": [1, 2]}, "target_modules": ["down"]},
            r"trained whole \(trainable_tokens_delta\)",
        ),
        ({"init_lora_weights": "pissa", "target_modules": ["down"]}, "changed base weights"),
        ({"target_parameters": ["up.weight"], "target_modules": ["down"]}, "target_parameters"),
    ],
    ids=["dora", "lora-bias", "bias", "modules-to-save", "tokens", "pissa", "parameters"],
)
def test_more_than_plain_lora_is_refused(settings: Mapping[str, Any], match: str) -> None:
    model = tiny({"one": settings, "two": {"target_modules": ["down"]}})
    error = refused(model, ["two", "one"], match)
    assert "'one'" in f"{error.problem} {error.where}"
    add_merged_adapter(model, ["two"], "m")  # what others are does not matter


def test_whole_parameters_point_to_folders() -> None:
    model = tiny({"one": {"modules_to_save": ["norm"]}, "two": {}})
    assert "merge their folders" in refused(model, ["one", "two"], "trained whole").hint


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


def test_other_models_are_refused() -> None:
    # Loaded past the type check that tests have and users do not.
    spec = importlib.util.spec_from_file_location("robustmerge._plain", robustmerge.peft.__file__)
    assert spec is not None
    assert spec.loader is not None
    plain = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = plain
    spec.loader.exec_module(plain)
    with pytest.raises(MergeError, match="Tiny is not a PeftModel"):
        plain.add_merged_adapter(Tiny(), ["one"], "m")
    with pytest.raises(MergeError, match="Tiny is not a PeftModel"):
        plain.landed(Tiny(), "one")
    mixed = get_peft_model(Tiny(), LoraConfig(target_modules=["up"]), mixed=True)
    with pytest.raises(MergeError, match="PeftMixedModel is not a PeftModel"):
        plain.add_merged_adapter(mixed, ["default"], "m")


def test_settings_are_checked() -> None:
    model = tiny(PLAIN)
    refused(model, ["one", "two"], "3 weights for 2 adapters", weights=[1.0, 2.0, 3.0])
    refused(model, ["one", "two"], "not a finite number", weights=[1.0, math.nan])
    refused(model, ["one", "two"], "rank = 0 is not possible", rank=0)
    refused(model, ["one", "two"], "rank = 'energy:2' is not possible", rank="energy:2")
    assert "density" in refused(model, ["one", "two"], "unknown parameter", densty=0.5).hint
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


# Landed


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "smolvlm"])
@pytest.mark.parametrize("targets", ["all-linear", LANGUAGE + r"|.*embed_tokens|.*lm_head"])
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`:UserWarning")
def test_what_peft_loads_in_full_has_landed(family: str, targets: str, tmp_path: Path) -> None:
    folder = save_adapter(family, tmp_path / "one", seed=1, targets=targets)
    landed(attach(build(family), folder), folder)


def test_saved_modules_and_tokens_have_landed(tmp_path: Path) -> None:
    more: dict[str, Any] = {"modules_to_save": ["multi_modal_projector"]}
    more["trainable_token_indices"] = {"embed_tokens": [1, 2]}
    folder = save_adapter("llava", tmp_path / "one", seed=1, **more)
    model = attach(build("llava"), folder)
    landed(model, folder)
    for end in ("linear_1.bias", "trainable_tokens_delta"):
        tensors = load_file(folder / WEIGHTS)
        key = next(key for key in tensors if key.endswith(end))
        tensors[key] = tensors[key] + 1
        (tmp_path / end).mkdir()
        save_file(tensors, tmp_path / end / WEIGHTS)
        with pytest.raises(MergeError, match="1 of 33 tensors") as caught:
            landed(model, tmp_path / end)
        assert caught.value.where.endswith(f"other values: {key}")


def test_layout_that_peft_ignores_has_not_landed(tmp_path: Path) -> None:
    folder = save_adapter("qwen2_vl", tmp_path / "one", seed=1)
    tensors = load_file(folder / WEIGHTS)
    old = {k.replace("model.language_model.layers", "model.layers"): tensors[k] for k in tensors}
    save_file(old, folder / WEIGHTS)
    with pytest.warns(UserWarning, match="missing adapter keys"):
        model = attach(build("qwen2_vl"), folder)
    with pytest.raises(MergeError, match="28 of 28 tensors are not in the model"):
        landed(model, folder)
    robustmerge.merge([folder], tmp_path / "m", method="task-arithmetic", layout="hf")
    landed(attach(build("qwen2_vl"), tmp_path / "m"), tmp_path / "m")


def test_layout_that_peft_converts_has_landed(tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path / "a", seed=1)
    tensors = load_file(folder / WEIGHTS)
    old = {
        k.replace("model.model.language_model.", "model.language_model.model."): t
        for k, t in tensors.items()
    }
    save_file(old, folder / WEIGHTS)
    assert not set(old) & set(tensors)
    landed(attach(build("llava"), folder), folder)


def test_modules_saved_for_another_adapter_have_not_landed(tmp_path: Path) -> None:
    saved = ["multi_modal_projector"]
    folder = save_adapter("llava", tmp_path / "a", seed=1, modules_to_save=saved)
    plain = save_adapter("llava", tmp_path / "b", seed=1)
    tensors = load_file(folder / WEIGHTS)
    save_file({k: t for k, t in tensors.items() if ".lora_" in k}, plain / WEIGHTS)
    model = attach(build("llava"), folder)
    model.load_adapter(str(plain), "two")
    landed(model, plain, "two")
    with pytest.raises(MergeError, match="4 of 32 tensors"):
        landed(model, folder, "two")


def test_tensor_without_a_place_has_not_landed(tmp_path: Path) -> None:
    folder = save_adapter("llava", tmp_path / "one", seed=1, targets=["q_proj"])
    tensors = load_file(folder / WEIGHTS)
    key = next(key for key in tensors if "layers.1" in key)
    tensors[key.replace("layers.1", "layers.7")] = tensors[key].clone()
    save_file(tensors, folder / WEIGHTS)
    model = attach(build("llava"), folder)  # without any warning
    with pytest.raises(MergeError, match="1 of 9 tensors") as caught:
        landed(model, folder)
    assert "absent: base_model" in caught.value.where
    assert "--layout hf" in caught.value.hint


def test_another_adapter_has_not_landed(tmp_path: Path) -> None:
    a = save_adapter("llava", tmp_path / "one", seed=1, targets=["q_proj"])
    b = save_adapter("llava", tmp_path / "two", seed=2, targets=["q_proj"])
    model = attach(build("llava"), a)
    model.load_adapter(str(b), "two")
    landed(model, a)
    landed(model, b, "two")
    with pytest.raises(MergeError, match="8 of 8 tensors"):
        landed(model, b)
    with pytest.raises(MergeError, match="unknown adapter 'three'"):
        landed(model, b, "three")


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("live", [torch.float32, torch.bfloat16])
def test_landing_is_judged_in_the_models_type(
    stored: torch.dtype, live: torch.dtype, tmp_path: Path
) -> None:
    folder = save_adapter("llava", tmp_path / "one", seed=1, targets=["q_proj"])
    tensors = {k: t.to(stored) for k, t in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    model = attach(build("llava").to(live), folder)
    landed(model, folder)
    model.to(torch.bfloat16)
    landed(model, folder)
    next(p for n, p in model.named_parameters() if ".lora_A." in n).data.view(-1)[0] *= 1.01
    with pytest.raises(MergeError, match="1 of 8 tensors"):
        landed(model, folder)


@pytest.mark.parametrize("layout", ["hf", "hf-old"])
def test_projector_beside_the_adapter_is_checked(layout: str, tmp_path: Path) -> None:
    saved = ["multi_modal_projector"]
    folder = save_adapter("llava", tmp_path / "one", seed=1, modules_to_save=saved)
    out = tmp_path / "m"
    robustmerge.merge([folder], out, method="task-arithmetic", extras_in="beside", layout=layout)
    base = build("llava")
    with pytest.raises(MergeError, match="4 of 32 tensors are not in the model"):
        landed(attach(base, out), out)
    base = build("llava")
    beside = load_file(out / "non_lora.safetensors")
    now = {f"model.{name.removeprefix('model.')}": tensor for name, tensor in beside.items()}
    assert base.load_state_dict(now, strict=False).unexpected_keys == []
    landed(attach(base, out), out)
