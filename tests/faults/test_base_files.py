"""A base model whose files are not there, not its own, or not what the index says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from factories.adapters import adapter
from faults.refuse import merge, refused_merge

HEAD = {"lm_head.weight": torch.ones(3, 2)}
INDEX = "model.safetensors.index.json"


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    return [adapter(tmp_path / name, seed=i, extras=HEAD) for i, name in enumerate("ab")]


def base(folder: Path, index: object, **shards: dict[str, torch.Tensor]) -> Path:
    folder.mkdir()
    for name, tensors in shards.items():
        save_file(tensors, folder / f"{name}.safetensors")
    (folder / INDEX).write_text(index if isinstance(index, str) else json.dumps(index))
    return folder


@pytest.mark.parametrize(
    ("index", "messages"),
    [
        ({"weight_map": {"lm_head.weight": "../evil.safetensors"}}, "'../evil.safetensors'"),
        ({"weight_map": {"lm_head.weight": "/evil.safetensors"}}, "'/evil.safetensors'"),
        ({"weight_map": {"lm_head.weight": "in/evil.safetensors"}}, "'in/evil.safetensors'"),
        ({"weight_map": {"lm_head.weight": "evil.bin"}}, "'evil.bin'"),
        ({"weight_map": {"lm_head.weight": ".."}}, "'..'"),
        ({"weight_map": {"lm_head.weight": ""}}, "''"),
        ({"weight_map": {"lm_head.weight": 5}}, "'5'"),
        ({"weight_map": {"lm_head.weight": None}}, "'None'"),
        ({"weight_map": {}}, "no weight_map"),
        ({"weight_map": ["one.safetensors"]}, "no weight_map"),
        ({}, "no weight_map"),
        ([], "JSON object"),
        ("{", "not valid JSON"),
    ],
    ids=str,
)
def test_an_index_that_leads_elsewhere(
    tmp_path: Path, sources: list[Path], index: object, messages: str
) -> None:
    save_file({"lm_head.weight": torch.zeros(3, 2)}, tmp_path / "evil.safetensors")
    folder = base(tmp_path / "base", index)
    error = refused_merge(tmp_path, sources, messages, base=str(folder))
    assert error.where == str(folder / INDEX)


def test_a_shard_that_is_missing(tmp_path: Path, sources: list[Path]) -> None:
    index = {"weight_map": {"x.weight": "one.safetensors", "lm_head.weight": "two.safetensors"}}
    folder = base(tmp_path / "base", index, one={"x.weight": torch.ones(2)})
    error = refused_merge(tmp_path, sources, "named by the index is missing", base=str(folder))
    assert error.where == str(folder / "two.safetensors")


def test_a_shard_that_is_cut(tmp_path: Path, sources: list[Path]) -> None:
    index = {"weight_map": {"lm_head.weight": "one.safetensors"}}
    folder = base(tmp_path / "base", index, one={"lm_head.weight": torch.ones(3, 2)})
    shard = folder / "one.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    refused_merge(tmp_path, sources, "not a whole safetensors file", str(shard), base=str(folder))


def test_one_parameter_twice(tmp_path: Path, sources: list[Path]) -> None:
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    head = {"lm_head.weight": torch.ones(3, 2)}
    folder = base(
        tmp_path / "base",
        index,
        one=head,
        two={"language_model.lm_head.weight": head["lm_head.weight"]},
    )
    error = refused_merge(tmp_path, sources, "are the same parameter", base=str(folder))
    assert "one.safetensors" in error.where
    assert "two.safetensors" in error.where


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers(tmp_path: Path, sources: list[Path], value: float) -> None:
    index = {"weight_map": {"lm_head.weight": "one.safetensors"}}
    folder = base(tmp_path / "base", index, one={"lm_head.weight": torch.full((3, 2), value)})
    options: dict[str, Any] = {"base": str(folder), "extras": "sum"}
    refused_merge(tmp_path, sources, "6 of 6 values are NaN", "one.safetensors", **options)


def test_another_shape(tmp_path: Path, sources: list[Path]) -> None:
    index = {"weight_map": {"lm_head.weight": "one.safetensors"}}
    folder = base(tmp_path / "base", index, one={"lm_head.weight": torch.ones(4, 2)})
    error = refused_merge(tmp_path, sources, "has another shape in the base", base=str(folder))
    assert "[3, 2]" in error.where
    assert "[4, 2]" in error.where


def test_a_folder_without_a_checkpoint(tmp_path: Path, sources: list[Path]) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    error = refused_merge(tmp_path, sources, "neither model.safetensors nor", base=str(folder))
    assert error.where == str(folder)


def test_a_file_instead_of_a_folder(tmp_path: Path, sources: list[Path]) -> None:
    file = tmp_path / "model.safetensors"
    save_file(HEAD, file)
    refused_merge(tmp_path, sources, "not a folder", str(file), base=str(file))


def test_a_base_that_nothing_needs_is_not_opened(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    merge([folder], tmp_path / "out", base="maker/somewhere-else")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "maker/somewhere-else"
