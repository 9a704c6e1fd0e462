"""adapter_config.json that is missing, broken, or of an adapter that is more than plain LoRA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from factories.adapters import adapter, deltas
from faults.refuse import merge, refused_merge

FILE = "adapter_config.json"


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        (None, "no adapter_config.json"),
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"r: 16\n", "not valid JSON"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8 text"),
        (b"{" + b'"a":{' * 100_000, "not valid JSON"),
        (b'{"r": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"[1]", "JSON object"),
        (b'"LORA"', "JSON object"),
        (b"null", "JSON object"),
    ],
    ids=["missing", "empty", "open", "yaml", "utf16", "deep", "digits", "list", "text", "null"],
)
def test_a_file_that_is_no_json_object(
    tmp_path: Path, content: bytes | None, messages: str
) -> None:
    good, bad = adapter(tmp_path / "good"), adapter(tmp_path / "bad")
    file = bad / FILE
    file.unlink() if content is None else file.write_bytes(content)
    error = refused_merge(tmp_path, [good, bad], messages)
    assert str(bad) in error.where


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    (folder / FILE).unlink()
    (folder / FILE).mkdir()
    refused_merge(tmp_path, [folder], "cannot read the file: Is a directory", str(folder / FILE))


def test_a_byte_order_mark_changes_nothing(tmp_path: Path) -> None:
    plain, marked = adapter(tmp_path / "plain"), adapter(tmp_path / "marked")
    (marked / FILE).write_bytes(b"\xef\xbb\xbf" + (marked / FILE).read_bytes())
    for folder in (plain, marked):
        merge([folder], tmp_path / "out" / folder.name)
    first, second = (
        tmp_path / "out" / n / "adapter_model.safetensors" for n in ("plain", "marked")
    )
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("field", "value", "messages"),
    [
        ("r", 0, "r = 0 is not a positive whole number"),
        ("r", -1, "r = -1 is not a positive whole number"),
        ("r", "16", "r = '16' is not a positive whole number"),
        ("r", True, "r = True is not a positive whole number"),
        ("r", 4.0, "r = 4.0 is not a positive whole number"),
        ("r", None, "r = None is not a positive whole number"),
        ("r", 10**400, "in its settings"),
        ("lora_alpha", float("nan"), "NaN is not a JSON number"),
        ("lora_alpha", float("inf"), "Infinity is not a JSON number"),
        ("lora_alpha", 10**400, "is not a number"),
        ("lora_alpha", "x", "lora_alpha = 'x' is not a number"),
        ("lora_alpha", None, "lora_alpha = None is not a number"),
        ("lora_alpha", False, "lora_alpha = False is not a number"),
        ("use_rslora", "false", "use_rslora = 'false' is not true or false"),
        ("use_rslora", 1, "use_rslora = 1 is not true or false"),
        ("fan_in_fan_out", "no", "fan_in_fan_out = 'no' is not true or false"),
        ("rank_pattern", {"q_proj(": 4}, "rank_pattern = 'q_proj(' is not a regular expression"),
        ("rank_pattern", {"a{99999999999}": 4}, "is not a regular expression"),
        ("rank_pattern", {"(" * 5000 + ")" * 5000: 4}, "is not a regular expression"),
        ("rank_pattern", ["q_proj"], "is not a table of patterns"),
        ("rank_pattern", {"q_proj": "4"}, "rank_pattern = '4' is not a positive whole number"),
        ("rank_pattern", {"q_proj": 8}, "rank 4 in its tensors and 8 in its settings"),
        ("alpha_pattern", {"*": 4}, "is not a regular expression"),
        ("alpha_pattern", {"q_proj": float("nan")}, "NaN is not a JSON number"),
        ("modules_to_save", "lm_head", "modules_to_save = 'lm_head' is not a list of names"),
        ("modules_to_save", 5, "modules_to_save = 5 is not a list of names"),
        ("modules_to_save", [5], "modules_to_save = [5] is not a list of names"),
        ("use_dora", True, "use_dora"),
        ("lora_bias", True, "lora_bias"),
        ("bias", "all", "bias = 'all'"),
        ("bias", "lora_only", "bias = 'lora_only'"),
        ("init_lora_weights", "pissa_niter_4", "init_lora_weights = 'pissa_niter_4'"),
        ("init_lora_weights", "OLoRA", "init_lora_weights = 'OLoRA'"),
        ("peft_type", "LOHA", "adapter of type LOHA"),
        ("peft_type", ["LORA"], "adapter of type ['LORA']"),
        ("use_flux_capacitor", True, "unknown setting use_flux_capacitor = True"),
        ("use_flux_capacitor", "x" * 10_000, "unknown setting use_flux_capacitor"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_settings_that_cannot_be_merged(
    tmp_path: Path, field: str, value: Any, messages: str
) -> None:
    good, bad = adapter(tmp_path / "good"), adapter(tmp_path / "bad", **{field: value})
    config = json.loads((bad / FILE).read_text())
    (bad / FILE).write_text(json.dumps(config | {field: value}))  # also what `adapter` sets itself
    error = refused_merge(tmp_path, [good, bad], messages)
    assert str(bad / FILE) in error.where
    assert len(error.problem) < 600


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("use_rslora", None),
        ("use_dora", False),
        ("bias", None),
        ("use_flux_capacitor", False),
        ("modules_to_save", None),
        ("modules_to_save", []),
        ("rank_pattern", None),
    ],
)
def test_settings_that_say_nothing_are_accepted(tmp_path: Path, field: str, value: Any) -> None:
    plain, odd = adapter(tmp_path / "plain"), adapter(tmp_path / "odd", **{field: value})
    for folder in (plain, odd):
        merge([folder], tmp_path / "out" / folder.name, method="task-arithmetic")
    first, second = (deltas(tmp_path / "out" / name) for name in ("plain", "odd"))
    assert all((first[name] == second[name]).all() for name in first)
