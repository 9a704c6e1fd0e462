"""Adapters that do not go together: both sides are named, and so is the option that decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from factories.adapters import LLM, adapter, deltas
from faults.refuse import command, merge, refused_merge

NAMES = sorted(LLM)
HEAD = {"lm_head.weight": torch.ones(3, 2)}
Q = "model.language_model.layers.0.self_attn.q_proj"


def modules_without(*names: str) -> dict[str, tuple[int, int]]:
    return {name: shape for name, shape in LLM.items() if name not in names}


def test_different_bases(tmp_path: Path) -> None:
    first = adapter(tmp_path / "one", base_model_name_or_path="maker/small")
    second = adapter(tmp_path / "other", base_model_name_or_path="maker/large")
    error = refused_merge(tmp_path, [first, second], "disagree on the base model", "--same-base")
    for folder, base in [(first, "maker/small"), (second, "maker/large")]:
        assert f"{folder}/adapter_config.json   {base}" in error.where
    report = merge([first, second], tmp_path / "out", same_base=True)
    assert "maker/large, maker/small" in report.warnings[0]
    assert command("merge", first, second, "--same-base", "-o", tmp_path / "out2")[0] == 0


def test_a_base_that_is_not_named_is_not_the_same(tmp_path: Path) -> None:
    first, second = adapter(tmp_path / "one"), adapter(tmp_path / "o", base_model_name_or_path=None)
    refused_merge(tmp_path, [first, second], "tiny/base", "(none)")


@pytest.mark.parametrize("shape", [(24, 17), (25, 16)])
def test_different_shapes(tmp_path: Path, shape: tuple[int, int]) -> None:
    first, second = adapter(tmp_path / "one"), adapter(tmp_path / "two", modules={**LLM, Q: shape})
    error = refused_merge(tmp_path, [first, second], f"disagree on the shape of {Q}")
    assert error.where == f"{first}   [24, 16]\n{second}   {list(shape)}"


def test_different_kinds(tmp_path: Path) -> None:
    name = "model.language_model.embed_tokens"
    linear = adapter(tmp_path / "linear", modules={name: (24, 16)})
    factors = {f"{name}.lora_embedding_A": (4, 16), f"{name}.lora_embedding_B": (24, 4)}
    tensors = {key: torch.ones(shape) for key, shape in factors.items()}
    embedding = adapter(tmp_path / "embedding", modules={}, extras=tensors)
    error = refused_merge(tmp_path, [linear, embedding], f"disagree on the kind of {name}")
    assert error.where == f"{linear}   lora_A\n{embedding}   lora_embedding_A"


def test_missing_modules_are_refused_counted_as_zero_or_dropped(tmp_path: Path) -> None:
    whole, part = (
        adapter(tmp_path / "whole"),
        adapter(tmp_path / "part", modules=modules_without(Q)),
    )
    error = refused_merge(tmp_path, [whole, part], "the same modules", "--missing zero")
    assert error.where == f"{part}: 1 of {len(LLM)} missing: {Q}"
    options: dict[str, Any] = {"method": "task-arithmetic", "rank": "full"}
    merge([whole, part], tmp_path / "zero", missing="zero", **options)
    merge([whole, part], tmp_path / "drop", missing="drop", **options)
    first, zero, drop = (deltas(folder) for folder in (whole, tmp_path / "zero", tmp_path / "drop"))
    assert torch.allclose(zero[Q], first[Q])
    assert sorted(zero) == NAMES
    assert sorted(drop) == sorted(modules_without(Q))
    assert all(torch.equal(zero[name], drop[name]) for name in drop)


def test_many_missing_modules_are_counted(tmp_path: Path) -> None:
    many = {f"model.language_model.layers.{n}.q_proj": (6, 8) for n in range(12)}
    whole, part = adapter(tmp_path / "a", modules=many), adapter(tmp_path / "b")
    error = refused_merge(tmp_path, [whole, part], "the same modules")
    assert error.where.endswith("layers.2.q_proj, … and 9 more")


def test_nothing_in_common_is_refused_whatever_is_missing(tmp_path: Path) -> None:
    first = adapter(tmp_path / "one", modules=modules_without(*NAMES[:3]))
    second = adapter(tmp_path / "other", modules=modules_without(*NAMES[3:]))
    error = refused_merge(tmp_path, [first, second], "no module in common", missing="drop")
    assert str(first) in error.where
    assert str(second) in error.where


def test_extras_that_one_lacks(tmp_path: Path) -> None:
    first, second = adapter(tmp_path / "one", extras=HEAD), adapter(tmp_path / "other")
    error = refused_merge(tmp_path, [first, second], "fully trained tensors", "lm_head.weight")
    assert error.where.startswith(f"{second}: 1 of 1 missing")
    merge([first, second], tmp_path / "drop", missing="drop")
    assert not any("lm_head" in name for name in load_file(tmp_path / "drop" / WEIGHTS))


@pytest.mark.parametrize(
    ("options", "messages"),
    [({"missing": "zero"}, "missing in"), ({"missing": "drop", "extras": "sum"}, "base None")],
)
def test_extras_that_need_a_base_are_refused_before_any_work(
    tmp_path: Path, options: dict[str, str], messages: str
) -> None:
    sources = [adapter(tmp_path / name, extras=HEAD) for name in "ab"]
    if options["missing"] == "zero":
        sources.append(adapter(tmp_path / "c"))
    error = refused_merge(tmp_path, sources, "lm_head.weight can only be", "--base", **options)
    assert messages in error.where
    assert command("merge", *sources, "--dry-run", *(f"--{k}={v}" for k, v in options.items()))[0]


def test_extras_of_different_shapes(tmp_path: Path) -> None:
    first = adapter(tmp_path / "one", extras=HEAD)
    second = adapter(tmp_path / "other", extras={"lm_head.weight": torch.ones(2, 3)})
    error = refused_merge(tmp_path, [first, second], "disagree on the shape of lm_head.weight")
    assert error.where == f"{first}   [3, 2]\n{second}   [2, 3]"


def test_different_trained_tokens(tmp_path: Path) -> None:
    name = "model.language_model.embed_tokens.token_adapter.trainable_tokens_delta"

    def tokens(folder: str, *ids: int) -> Path:
        rows: dict[str, Tensor] = {name: torch.ones(2, 16)}
        return adapter(tmp_path / folder, extras=rows, trainable_token_indices=list(ids))

    first, second, same = tokens("one", 5, 6), tokens("other", 5, 7), tokens("same", 5, 6)
    report = merge([first, second], tmp_path / "united")
    united = json.loads((tmp_path / "united" / "adapter_config.json").read_text())
    assert united["trainable_token_indices"] == [5, 6, 7]
    assert "the same tokens as in the other adapters is not checked" in report.warnings[0]
    merge([first, same], tmp_path / "out")
    written = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert written["trainable_token_indices"] == [5, 6]


def test_different_copies_of_a_base_weight(tmp_path: Path) -> None:
    name = "model.language_model.embed_tokens"

    def copy(folder: str, value: float) -> Path:
        factors = {f"{name}.lora_embedding_A": torch.ones(4, 9)}
        factors[f"{name}.lora_embedding_B"] = torch.ones(16, 4)
        base = {f"{name}.base_layer.weight": torch.full((9, 16), value)}
        return adapter(tmp_path / folder, modules={}, extras={**factors, **base})

    first, second = copy("one", 1.0), copy("other", 2.0)
    error = refused_merge(tmp_path, [first, second], "different copies of the base weight", name)
    assert str(first) in error.where
    assert str(second) in error.where


WEIGHTS = "adapter_model.safetensors"
