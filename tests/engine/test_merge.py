"""Folders in, one folder out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors.torch import load_file

from factories.adapters import LLM, adapter, deltas, trio
from robustmerge import methods
from robustmerge.adapter.layout import written
from robustmerge.adapter.source import is_hub_id
from robustmerge.engine.merge import merge_recipe
from robustmerge.engine.recipe import Override, Recipe
from robustmerge.engine.report import MergeReport
from robustmerge.factors import Factors, Stack
from robustmerge.files import sha256

SUM: dict[str, Any] = {"method": "task-arithmetic", "rank": "full"}


def merge(sources: list[str], output: Path, **settings: Any) -> MergeReport:
    return merge_recipe(Recipe(adapters=tuple(sources), **settings), output)


def total(sources: list[str], weights: list[float] | None = None) -> dict[str, torch.Tensor]:
    """Return the exact weighted sum of the adapters' updates."""
    updates = [deltas(s) for s in sources]
    by = weights or [1.0] * len(updates)
    names = {name for d in updates for name in d}
    return {n: sum(w * d[n] for w, d in zip(by, updates, strict=True) if n in d) for n in names}


def assert_close(
    got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 1e-5
) -> None:
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (got[name] - tensor).norm() <= tolerance * tensor.norm(), name


def test_a_method_on_folders(tmp_path: Path) -> None:
    sources = trio(tmp_path)
    report = merge(sources, tmp_path / "out", method="robustmerge")
    merged = deltas(tmp_path / "out")
    files = [load_file(Path(s) / "adapter_model.safetensors") for s in sources]
    method = methods.get("robustmerge")
    for name in LLM:
        key = f"base_model.model.{name}.lora_%s.weight"
        stack = Stack.of([Factors(f[key % "A"], 2 * f[key % "B"]) for f in files])
        update = method(stack, **method.configure({})).update  # type: ignore[union-attr]
        torch.testing.assert_close(merged[name].float(), update.dense(), rtol=1e-4, atol=1e-5)
    assert report.rank == 4
    assert report.energy == (1.0, 1.0)


def test_every_scale_is_folded(tmp_path: Path) -> None:
    """Unequal ranks and alphas, rsLoRA: the exact sum still is the exact sum."""
    sources = [
        str(adapter(tmp_path / "plain", seed=0, rank=4, alpha=8)),
        str(adapter(tmp_path / "small", seed=1, rank=2, alpha=16)),
        str(adapter(tmp_path / "rslora", seed=2, rank=9, alpha=6, use_rslora=True)),
    ]
    merge(sources, tmp_path / "out", **SUM)
    assert_close(deltas(tmp_path / "out"), total(sources))


def test_rank_and_alpha_patterns(tmp_path: Path) -> None:
    patterned = adapter(
        tmp_path / "p",
        rank=4,
        alpha=8,
        ranks={n: 2 for n in LLM if n.endswith("v_proj")},
        rank_pattern={"v_proj": 2},
        alpha_pattern={r"layers\.1\.self_attn.v_proj": 3, "down_proj": 12},
    )
    merge([str(patterned)], tmp_path / "out", **SUM)
    tensors = load_file(patterned / "adapter_model.safetensors")
    scalings = {"q_proj": 8 / 4, "v_proj": 8 / 2, "down_proj": 12 / 4}
    for name, got in deltas(tmp_path / "out").items():
        scaling = scalings[name.rpartition(".")[2]]
        if name.endswith("layers.1.self_attn.v_proj"):
            scaling = 3 / 2
        a, b = (tensors[f"base_model.model.{name}.lora_{x}.weight"].double() for x in "AB")
        torch.testing.assert_close(got, scaling * b @ a, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("rank", "expected"), [("input", 4), ("full", 12), (7, 7), ("7", 7), (40, 40)]
)
def test_the_rank_asked_for(tmp_path: Path, rank: int | str, expected: int) -> None:
    sources = trio(tmp_path)
    report = merge(sources, tmp_path / "out", method="task-arithmetic", rank=rank)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert report.rank == config["r"] == config["lora_alpha"] == expected
    shapes = {
        t.shape[0]
        for n, t in load_file(tmp_path / "out" / "adapter_model.safetensors").items()
        if "lora_A" in n
    }
    assert shapes == {expected}
    sums = total(sources)
    for module in report.modules:
        S = torch.linalg.svdvals(sums[module.name])
        kept = float(S[:expected].square().sum() / S.square().sum())
        assert module.energy == pytest.approx(kept, abs=1e-6)


def test_the_rank_by_energy_is_the_smallest_that_serves_every_module(tmp_path: Path) -> None:
    sources = trio(tmp_path)
    report = merge(sources, tmp_path / "out", method="task-arithmetic", rank="energy:0.8")
    needed = []
    for tensor in total(sources).values():
        share = torch.linalg.svdvals(tensor).square().cumsum(0)
        needed.append(int((share / share[-1] < 0.8).sum()) + 1)
    assert report.rank == max(needed)
    assert all(m.energy >= 0.8 for m in report.modules)


def test_full_rank_never_exceeds_the_layer(tmp_path: Path) -> None:
    sources = [str(adapter(tmp_path / str(i), seed=i, rank=8)) for i in range(3)]
    assert merge(sources, tmp_path / "out", **SUM).rank == 16
    assert_close(deltas(tmp_path / "out"), total(sources))


def test_weights_and_scale(tmp_path: Path) -> None:
    sources = trio(tmp_path)
    merge(sources, tmp_path / "out", weights=(1.0, 0.0, -0.5), scale=0.3, **SUM)
    expected = {n: 0.3 * t for n, t in total(sources, [1, 0, -0.5]).items()}
    assert_close(deltas(tmp_path / "out"), expected)


def test_overrides_by_pattern_and_the_last_one_wins(tmp_path: Path) -> None:
    sources = trio(tmp_path)
    overrides = (
        Override("*.mlp.*", scale=0.5),
        Override("*.layers.1.mlp.*", scale=3.0, weights=(0.0, 1.0, 0.0)),
    )
    merge(sources, tmp_path / "out", modules=overrides, **SUM)
    got, plain, second = deltas(tmp_path / "out"), total(sources), total(sources[1:2])
    low = "model.language_model.layers.0."
    high = "model.language_model.layers.1."
    for name, expected in {
        low + "mlp.down_proj": 0.5 * plain[low + "mlp.down_proj"],
        high + "mlp.down_proj": 3 * second[high + "mlp.down_proj"],
        high + "self_attn.q_proj": plain[high + "self_attn.q_proj"],
    }.items():
        torch.testing.assert_close(got[name], expected, rtol=1e-4, atol=1e-5)


def test_overrides_change_parameters_of_the_method(tmp_path: Path) -> None:
    sources = trio(tmp_path)
    merge(sources, tmp_path / "plain", method="robustmerge")
    overrides = (Override("*.mlp.*", parameters={"gain_A": 6}),)
    merge(sources, tmp_path / "out", method="robustmerge", modules=overrides)
    got, plain = deltas(tmp_path / "out"), deltas(tmp_path / "plain")
    for name, tensor in plain.items():
        factor = 3 if ".mlp." in name else 1
        torch.testing.assert_close(got[name], factor * tensor, rtol=1e-4, atol=1e-5)


def test_missing_modules_count_as_zero_or_are_dropped(tmp_path: Path) -> None:
    fewer = {n: s for n, s in LLM.items() if "v_proj" not in n}
    sources = [
        str(adapter(tmp_path / "all", seed=0)),
        str(adapter(tmp_path / "fewer", seed=1, modules=fewer)),
    ]
    merge(sources, tmp_path / "zero", missing="zero", **SUM)
    assert_close(deltas(tmp_path / "zero"), total(sources))
    merge(sources, tmp_path / "drop", missing="drop", **SUM)
    assert_close(deltas(tmp_path / "drop"), {n: t for n, t in total(sources).items() if n in fewer})


def test_the_settings_are_those_of_a_plain_lora(tmp_path: Path) -> None:
    rslora = adapter(tmp_path / "a", use_rslora=True, lora_dropout=0.1, peft_version="0.9")
    merge([str(rslora)], tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 4
    assert config["use_rslora"] is False
    assert config["rank_pattern"] == config["alpha_pattern"] == {}
    assert config["base_model_name_or_path"] == "tiny/base"
    assert sorted(config["target_modules"]) == sorted(LLM)
    assert None not in config.values()
    # PEFT 0.13 knows these, and refuses any other name.
    assert config.keys() <= {
        *("peft_type", "task_type", "base_model_name_or_path", "r", "lora_alpha", "lora_dropout"),
        *("bias", "fan_in_fan_out", "inference_mode", "init_lora_weights", "target_modules"),
        *("rank_pattern", "alpha_pattern", "use_rslora", "use_dora"),
    }


def test_short_names_select_the_modules_of_a_language_model(tmp_path: Path) -> None:
    flat = {written(name, "flat"): shape for name, shape in LLM.items()}
    merge([str(adapter(tmp_path / "a", modules=flat))], tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["down_proj", "q_proj", "v_proj"]


def test_modules_that_no_short_name_selects_are_named_in_full(tmp_path: Path) -> None:
    fewer = {n: s for n, s in LLM.items() if n != "model.language_model.layers.1.mlp.down_proj"}
    merge([str(adapter(tmp_path / "a", modules=fewer))], tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert sorted(config["target_modules"]) == sorted(fewer)
    vision = {**LLM, "model.vision_tower.encoder.layers.0.mlp.fc1": (8, 8)}
    merge([str(adapter(tmp_path / "v", modules=vision))], tmp_path / "out2")
    config = json.loads((tmp_path / "out2" / "adapter_config.json").read_text())
    assert sorted(config["target_modules"]) == sorted(vision)
    assert "exclude_modules" not in config


@pytest.mark.parametrize(
    ("inputs", "dtype", "expected"),
    [
        ((torch.float16, torch.float16), None, torch.float16),
        ((torch.bfloat16, torch.bfloat16), None, torch.bfloat16),
        ((torch.float16, torch.bfloat16), None, torch.float32),
        ((torch.bfloat16, torch.float32), None, torch.float32),
        ((torch.float32, torch.float32), "bfloat16", torch.bfloat16),
    ],
)
def test_the_type_of_the_output(
    tmp_path: Path,
    inputs: tuple[torch.dtype, ...],
    dtype: str | None,
    expected: torch.dtype,
) -> None:
    sources = [str(adapter(tmp_path / str(i), seed=i, dtype=d)) for i, d in enumerate(inputs)]
    merge(sources, tmp_path / "out", dtype=dtype, **SUM)
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {t.dtype for t in tensors.values()} == {expected}
    tolerance = 1e-5 if expected == torch.float32 else 1e-2
    assert_close(deltas(tmp_path / "out"), total(sources), tolerance)


def test_bin_files_are_read_like_safetensors(tmp_path: Path) -> None:
    plain = [str(adapter(tmp_path / f"s{i}", seed=i)) for i in range(2)]
    binary = [str(adapter(tmp_path / f"b{i}", seed=i, binary=True)) for i in range(2)]
    merge(plain, tmp_path / "one")
    merge(binary, tmp_path / "two")
    name = "adapter_model.safetensors"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_weights_of_an_override_replace_those_of_the_recipe(tmp_path: Path) -> None:
    sources = trio(tmp_path)
    overrides = (
        Override("*.mlp.*", weights=(0.5, 0.0, -1.0)),
        Override("*.layers.1.mlp.*", scale=2.0),  # without weights: those of the override above
    )
    merge(sources, tmp_path / "out", weights=(3.0, 1.0, 2.0), modules=overrides, **SUM)
    everywhere, mlp = total(sources, [3.0, 1.0, 2.0]), total(sources, [0.5, 0.0, -1.0])
    expected = {
        name: (2 if ".layers.1." in name else 1) * mlp[name] if ".mlp." in name else delta
        for name, delta in everywhere.items()
    }
    assert any(".layers.1.mlp." in name for name in expected)
    assert_close(deltas(tmp_path / "out"), expected)


@pytest.mark.parametrize(
    ("weights", "column"), [((1.0, 0.5, -2.0), ["1", "0.5", "-2"]), (None, ["1", "1", "1"])]
)
def test_the_card_has_every_adapters_weight_and_rank(
    tmp_path: Path, weights: tuple[float, ...] | None, column: list[str]
) -> None:
    sources = [str(adapter(tmp_path / n, seed=i, rank=2 + i)) for i, n in enumerate("abc")]
    merge(sources, tmp_path / "out", weights=weights, **SUM)
    lines = (tmp_path / "out" / "README.md").read_text().splitlines()
    rows = [[cell.strip() for cell in x.strip("|").split("|")] for x in lines if x[:1] == "|"]
    table = list(map(list, zip("abc", column, ["2", "3", "4"], strict=True)))
    assert rows == [["adapter", "weight", "rank"], ["---"] * 3, *table]


@pytest.mark.parametrize("base", [None, "maker/model"])
def test_the_base_that_is_named_goes_into_settings_and_card(
    tmp_path: Path, base: str | None
) -> None:
    merge(trio(tmp_path), tmp_path / "out", base=base)
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == (base or "tiny/base")
    front = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---\n")[1])
    assert front["base_model"] == (base or "tiny/base")


def test_the_record_and_the_card(tmp_path: Path) -> None:
    sources = trio(tmp_path)
    out = tmp_path / "out"
    merge(sources, out, weights=(1.0, 2.0, 1.0), method="task-arithmetic")
    record = json.loads((out / "merge.json").read_text())
    assert next(iter(record.items())) == ("format", 1)
    assert record["recipe"]["adapters"] == sources
    assert record["recipe"]["weights"] == [1, 2, 1]
    assert record["output"]["sha256"]["adapter_model.safetensors"] == sha256(
        out / "adapter_model.safetensors"
    )
    for source, entry in zip(sources, record["inputs"], strict=True):
        weights = Path(source) / "adapter_model.safetensors"
        assert entry["sha256"][weights.name] == sha256(weights)
    assert record["modules"].keys() == LLM.keys()
    assert record["energy"]["least"] == min(m["energy"] for m in record["modules"].values()) < 1
    again = Recipe.from_dict(record["recipe"], where="merge.json")
    merge_recipe(again, tmp_path / "again")
    for file in out.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name
    _, front, body = (out / "README.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["base_model"] == "tiny/base"
    assert metadata["library_name"] == "peft"
    assert "merge" in metadata["tags"]
    assert "| b | 2 |" in body
    assert str(tmp_path) not in body


@pytest.mark.parametrize(
    "name",
    ["a/b", "a.b/c-d_e", "..x/y", "a--b/c", "a/.b", "a/b.git", "a/b-", "-a/b", "a/b c", ""],
)
def test_ids_are_those_that_the_hub_allows(name: str) -> None:
    try:
        validate_repo_id(name)
        allowed = name.count("/") == 1
    except HFValidationError:
        allowed = False
    assert is_hub_id(name) is allowed


def test_ids_with_other_letters_are_none() -> None:
    # The Hub has none; huggingface_hub before 2 accepts them all the same.
    assert not is_hub_id("ä/b")


@pytest.mark.parametrize(
    ("base", "shown"),
    [
        ("/models/llava-7b", "llava-7b"),
        ("bases/x", "x"),  # a folder here, which could be the id of a repository
        ("./bases/x", "x"),
        ("a/b/c", "c"),
        ("maker/has space", "has space"),
        ("llava-hf/llava-1.5-7b-hf", "llava-hf/llava-1.5-7b-hf"),
    ],
)
def test_the_card_has_no_paths_and_no_false_ids(
    base: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bases/x").mkdir(parents=True)
    merge([str(adapter(tmp_path / "a", base_model_name_or_path=base))], tmp_path / "out")
    card = ModelCard((tmp_path / "out" / "README.md").read_text())
    assert card.data.to_dict().get("base_model") == (base if base == shown else None)
    assert f"`{shown}`" in card.text
    assert str(tmp_path) not in str(card)
    assert card.data.library_name == "peft"
