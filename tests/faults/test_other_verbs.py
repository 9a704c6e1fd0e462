"""`show` and `check` look at anything: a broken folder is what they are for, and no surprise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from factories.adapters import LLM, adapter
from faults.refuse import command, tree

FIELDS = [
    *("r", "lora_alpha", "rank_pattern", "alpha_pattern", "modules_to_save", "target_modules"),
    *("exclude_modules", "layers_to_transform", "layers_pattern", "use_dora", "use_rslora", "bias"),
    *("peft_type", "init_lora_weights", "base_model_name_or_path", "trainable_token_indices"),
]
VALUES = [0, 10**400, float("nan"), "(", [1], {"(": 1}]
MODULE = "base_model.model.model.language_model.layers.0.self_attn.q_proj"
A, B = f"{MODULE}.lora_A.weight", f"{MODULE}.lora_B.weight"

Tensors = dict[str, Tensor]
CHANGES: dict[str, Callable[[Tensors], object]] = {
    "no A": lambda t: t.pop(A),
    "no B": lambda t: t.pop(B),
    "other rank": lambda t: t.update({A: torch.ones(3, 16)}),
    "one axis": lambda t: t.update({A: torch.ones(4)}),
    "no axis": lambda t: t.update({A: torch.ones(())}),
    "four axes": lambda t: t.update({A: torch.ones(4, 16, 1, 1)}),
    "rank zero": lambda t: t.update({A: torch.ones(0, 16), B: torch.ones(24, 0)}),
    "no numbers": lambda t: t.update({A: torch.full((4, 16), float("nan"))}),
    "infinite": lambda t: t.update({B: torch.full((24, 4), float("inf"))}),
    "int8": lambda t: t.update({A: torch.ones(4, 16, dtype=torch.int8)}),
    "twice": lambda t: t.update({A.replace(".weight", ".default.weight"): torch.ones(4, 16)}),
    "bare": lambda t: t.update({"step": torch.ones(1)}),
    "unknown": lambda t: t.update({f"{MODULE}.lora_C.weight": torch.ones(1)}),
    "DoRA": lambda t: t.update({f"{MODULE}.lora_magnitude_vector.weight": torch.ones(24)}),
    "empty": lambda t: t.clear(),
    "all zero": lambda t: [tensor.zero_() for tensor in t.values()],
}


def run_reading_verbs(root: Path, *folders: Path) -> set[int]:
    """Exit codes of looking at folders in every way, none of which may raise or write."""
    before = tree(root)
    codes = set()
    for arguments in (
        ["show", *folders],
        ["check", folders[-1], "--json"],
        ["check", folders[-1], "--base", root / "base"],
    ):
        code, errors = command(*arguments)
        assert "Traceback" not in errors
        codes.add(code)
    assert tree(root) == before
    return codes


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """An adapter, with its base beside it."""
    (tmp_path / "base").mkdir()
    weights = {f"{name}.weight": torch.zeros(shape) for name, shape in LLM.items()}
    save_file(weights, tmp_path / "base" / "model.safetensors")
    return adapter(tmp_path / "good")


@pytest.mark.parametrize("field", FIELDS)
def test_settings_of_any_kind(tmp_path: Path, good: Path, field: str) -> None:
    bad = adapter(tmp_path / "bad", seed=1)
    config = json.loads((bad / "adapter_config.json").read_text())
    for value in VALUES:
        (bad / "adapter_config.json").write_text(json.dumps(config | {field: value}))
        assert run_reading_verbs(tmp_path, good, bad) <= {0, 1}


@pytest.mark.parametrize("change", CHANGES)
def test_tensors_of_any_kind(tmp_path: Path, good: Path, change: str) -> None:
    bad = adapter(tmp_path / "bad", seed=1)
    file = bad / "adapter_model.safetensors"
    tensors = load_file(file)
    CHANGES[change](tensors)
    save_file(tensors, file)
    assert run_reading_verbs(tmp_path, good, bad) <= {0, 1}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("adapter_model.safetensors", b""),
        ("adapter_model.safetensors", b"x" * 100),
        ("adapter_config.json", b"["),
        ("adapter_config.json", b"[]"),
        ("non_lora_trainables.bin", b"x"),
        ("non_lora.safetensors", b"x"),
        ("config.json", b"["),
    ],
)
def test_files_of_any_kind(tmp_path: Path, good: Path, name: str, content: bytes) -> None:
    bad = adapter(tmp_path / "bad", seed=1)
    (bad / name).write_bytes(content)
    assert run_reading_verbs(tmp_path, good, bad) <= {0, 1}


def test_a_base_of_any_kind(tmp_path: Path, good: Path) -> None:
    for content in (b"", b"[", b"[]", b'{"model_type": 5}', b'{"text_config": 5}', b"\xff"):
        (tmp_path / "base" / "config.json").write_bytes(content)
        assert run_reading_verbs(tmp_path, good) <= {0, 1}
    (tmp_path / "base" / "model.safetensors").write_bytes(b"")
    assert 1 in run_reading_verbs(tmp_path, good)


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    assert run_reading_verbs(tmp_path, tmp_path / "nothing") == {1}
