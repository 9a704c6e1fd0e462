"""Merging on a live PeftModel, against files, against PEFT, and against what layers compute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file

import robustmerge
from factories.families import attach, build, logits, not_landed, save_adapter
from factories.live_models import PLAIN, assert_weighted_sum, deltas, factors, run, tiny
from robustmerge import methods
from robustmerge.peft import add_merged_adapter, landed

WEIGHTS = "adapter_model.safetensors"

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
    [pytest.param(one.name, {}, id=one.name) for one in methods.every() if not one.needs]
    + [
        pytest.param("task-arithmetic", {"rank": rank}, id=rank)
        for rank in ("input", "full", "energy:0.9")
    ]
    # These take a pass over the whole model first.
    + [
        pytest.param("ties", {"flavor": "paper", "weights": None}, id="ties-paper"),
        pytest.param("task-arithmetic", {"calibrate": "layer-polarization"}, id="polarized"),
    ],
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
        ({"method": "robustmerge", "density": 1, "gain_A": 1, "gain_B": 1}, 3.0),
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


def test_what_a_careful_user_should_know_is_told() -> None:
    model = tiny(PLAIN)
    plain = add_merged_adapter(model, ["one", "two"], "plain", method="task-arithmetic")
    assert plain.warnings == ()
    literal = add_merged_adapter(
        model, ["one", "two"], "literal", method="iso-c", flavor="paper", rank=1
    )
    caution, cut = literal.warnings
    assert "past the adapters' ranks" in caution
    assert "rank 1 keeps" in cut
