"""Rows of the vocabulary: grown, trained singly, tied; an export computes what PEFT does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

import robustmerge
from factories.adapters import adapter
from factories.families import _TEXT, _quiet
from robustmerge import MergeError
from robustmerge.checks.check import check
from robustmerge.export.exported import export_adapter

ROWS, GROWN = 24, 30
WEIGHTS = "adapter_model.safetensors"


def model(tied: bool) -> LlamaForCausalLM:
    settings = _TEXT | {"vocab_size": ROWS, "pad_token_id": 0, "tie_word_embeddings": tied}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**settings)).eval()


def save_base(folder: Path, tied: bool) -> Path:
    model(tied).save_pretrained(folder)
    return folder


def save(folder: Path, tied: bool, *, grown: int = 0, seed: int = 1, **settings: Any) -> Tensor:
    """Save an adapter of the tiny Llama as PEFT does; return the logits of its model."""
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        base = model(tied)
        if grown:
            base.resize_token_embeddings(grown, mean_resizing=False)
        config = LoraConfig(**({"r": 2, "target_modules": ["q_proj"]} | settings))
        peft = get_peft_model(base, config)
        for parameter in filter(lambda p: p.requires_grad, peft.parameters()):
            parameter.data += 0.1 * torch.randn_like(parameter)
        if settings.get("ensure_weight_tying"):  # PEFT ties them where the adapter is loaded
            peft.save_pretrained(str(folder))
            base = model(tied)
            peft = PeftModel.from_pretrained(base, str(folder))
        else:
            peft.save_pretrained(str(folder))
        return logits(peft.eval(), grown or ROWS)  # merge_and_unload unites tied weights


def logits(network: Any, rows: int) -> Tensor:
    with torch.no_grad():
        result: Tensor = network(torch.arange(rows)[None]).logits
    return result


def baked(folder: Path, rows: int) -> Tensor:
    return logits(LlamaForCausalLM.from_pretrained(folder).eval(), rows)


EMBED = ["q_proj", "embed_tokens"]
CASES: dict[str, dict[str, Any]] = {
    "rows": {"trainable_token_indices": [3, 5]},
    "rows of the embeddings": {"trainable_token_indices": {"embed_tokens": [3, 5]}},
    "rows of both": {"trainable_token_indices": {"embed_tokens": [3, 5], "lm_head": [3, 5]}},
    "other rows": {"trainable_token_indices": {"embed_tokens": [3, 5], "lm_head": [4]}},
    "rows of the head": {"trainable_token_indices": {"lm_head": [4, 7]}},
    "tied weights": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "tied rows": {"trainable_token_indices": [3, 5], "ensure_weight_tying": True},
    "tied updates": {"target_modules": EMBED, "ensure_weight_tying": True},
    "untied updates": {"target_modules": EMBED},
    "untied weights": {"modules_to_save": ["embed_tokens"]},
    "both weights": {"modules_to_save": ["embed_tokens", "lm_head"]},
}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_export_bakes_what_peft_computes(
    settings: dict[str, Any], tied: bool, tmp_path: Path
) -> None:
    """`trainable_token_indices` and `ensure_weight_tying` were refused: "PEFT bakes these"."""
    save_base(tmp_path / "base", tied)
    wanted = save(tmp_path / "a", tied, **settings)
    export_adapter(tmp_path / "a", tmp_path / "f", format="full", base=str(tmp_path / "base"))
    torch.testing.assert_close(baked(tmp_path / "f", ROWS), wanted, atol=1e-5, rtol=1e-5)
    parted = settings in (CASES["other rows"], CASES["rows of the head"])
    alike = "trainable_token_indices" in settings or "ensure_weight_tying" in settings
    one = tied and alike and not parted
    assert ("lm_head.weight" not in load_file(tmp_path / "f" / "model.safetensors")) is one


BOTH = ["q_proj", "embed_tokens", "lm_head"]
NEW = list(range(ROWS, GROWN))
GROWING: dict[str, tuple[bool, dict[str, Any]]] = {
    "whole, untied": (False, {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "whole, tied": (True, {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
    "updates of both, untied": (False, {"target_modules": BOTH}),
    "updates of the embeddings, tied": (True, {"target_modules": EMBED}),
    "rows, tied": (True, {"trainable_token_indices": NEW}),
    "rows of both, untied": (
        False,
        {"trainable_token_indices": {"embed_tokens": NEW, "lm_head": NEW}},
    ),
}


@pytest.mark.parametrize(("tied", "settings"), GROWING.values(), ids=GROWING)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_export_grows_the_vocabulary(tied: bool, settings: dict[str, Any], tmp_path: Path) -> None:
    """136 rows on a base of 128: `check` and `export` said "name the base model"."""
    save_base(tmp_path / "base", tied)
    plain = {k: v for k, v in settings.items() if k != "ensure_weight_tying"}
    wanted = save(tmp_path / "a", tied, grown=GROWN, **plain)
    if "ensure_weight_tying" in settings:  # as a trainer ties them: one value in both places
        file = tmp_path / "a" / WEIGHTS
        tensors = load_file(file)
        head, embed = (f"base_model.model.{n}.weight" for n in ("lm_head", "model.embed_tokens"))
        save_file(tensors | {head: tensors[embed].clone()}, file)
        raw = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
        (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(raw | settings))
    report = check(tmp_path / "a", str(tmp_path / "base"), ["peft"])
    line = next(x.finding for x in report.lines if x.check == "tensors")
    assert not report.holds
    assert f"{GROWN}" in line.text
    assert f"{ROWS}" in line.text
    assert f"resize_token_embeddings({GROWN})" in line.advice
    export_adapter(tmp_path / "a", tmp_path / "f", format="full", base=str(tmp_path / "base"))
    config = json.loads((tmp_path / "f" / "config.json").read_text())
    assert config["vocab_size"] == GROWN
    if "ensure_weight_tying" in settings:
        exported = LlamaForCausalLM.from_pretrained(tmp_path / "f")
        assert exported.lm_head.weight is exported.model.embed_tokens.weight
        return
    torch.testing.assert_close(baked(tmp_path / "f", GROWN), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_advice_to_resize_works(tmp_path: Path) -> None:
    save_base(tmp_path / "base", False)
    wanted = save(tmp_path / "a", False, grown=GROWN, modules_to_save=["embed_tokens", "lm_head"])
    base = model(False)
    base.resize_token_embeddings(GROWN)
    with _quiet():
        merged = PeftModel.from_pretrained(base, str(tmp_path / "a")).merge_and_unload()
    torch.testing.assert_close(logits(merged, GROWN), wanted)


MISSING: dict[str, tuple[bool, dict[str, Any]]] = {
    "no rows of the head": (False, {"modules_to_save": ["embed_tokens"]}),
    "a head that parts": (True, {"modules_to_save": ["embed_tokens"]}),
    "not all rows": (True, {"trainable_token_indices": [GROWN - 1]}),
}


@pytest.mark.parametrize(("tied", "settings"), MISSING.values(), ids=MISSING)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_rows_that_nothing_holds_are_not_made_up(
    tied: bool, settings: dict[str, Any], tmp_path: Path
) -> None:
    save_base(tmp_path / "base", tied)
    save(tmp_path / "a", tied, grown=GROWN, **settings)
    file = tmp_path / "a" / WEIGHTS
    tensors = load_file(file)
    save_file({n: t for n, t in tensors.items() if "lm_head" not in n}, file)
    with pytest.raises(MergeError, match=f"vocabulary of {GROWN}") as caught:
        export_adapter(tmp_path / "a", tmp_path / "f", format="full", base=str(tmp_path / "base"))
    assert "merge_and_unload" in caught.value.hint
    with pytest.raises(MergeError, match="of another vocabulary") as caught:
        export_adapter(
            tmp_path / "a", tmp_path / "e", format="embedded", base=str(tmp_path / "base")
        )
    assert "--format full" in caught.value.hint


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_grown_base_in_shards_has_a_right_index(tmp_path: Path) -> None:
    model(False).save_pretrained(tmp_path / "base", max_shard_size="30KB")
    save(tmp_path / "a", False, grown=GROWN, modules_to_save=["embed_tokens", "lm_head"])
    export_adapter(tmp_path / "a", tmp_path / "f", format="full", base=str(tmp_path / "base"))
    index = json.loads((tmp_path / "f" / "model.safetensors.index.json").read_text())
    files = {name: load_file(tmp_path / "f" / name) for name in set(index["weight_map"].values())}
    size = sum(t.numel() * t.element_size() for part in files.values() for t in part.values())
    assert index["metadata"]["total_size"] == size
    assert all(name in files[file] for name, file in index["weight_map"].items())


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("rows", [[3, 3], {"embed_tokens": [3, 4, 3]}])
def test_a_row_that_is_listed_twice(rows: Any, tmp_path: Path) -> None:
    count = len(rows if isinstance(rows, list) else rows["embed_tokens"])
    name = "model.language_model.embed_tokens.token_adapter.trainable_tokens_delta"
    extras = {name: torch.randn(count, 16)}
    source = adapter(tmp_path / "a", extras=extras, trainable_token_indices=rows)
    with pytest.raises(MergeError, match="lists row 3 twice"):
        robustmerge.merge([source], tmp_path / "m", method="task-arithmetic")


def test_a_merge_of_trained_rows_is_baked(tmp_path: Path) -> None:
    save_base(tmp_path / "base", True)
    for seed in (1, 2):
        save(tmp_path / f"{seed}", True, seed=seed, trainable_token_indices=[3, 5])
    robustmerge.merge([tmp_path / "1", tmp_path / "2"], tmp_path / "m")
    export_adapter(tmp_path / "m", tmp_path / "f", format="full", base=str(tmp_path / "base"))
    with _quiet():
        merged = PeftModel.from_pretrained(model(True), str(tmp_path / "m")).merge_and_unload()
    torch.testing.assert_close(baked(tmp_path / "f", ROWS), logits(merged, ROWS))


@pytest.mark.parametrize("indices", [[3, 5], NEW])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_adapters_tokenizer_goes_with_an_export(indices: list[int], tmp_path: Path) -> None:
    save_base(tmp_path / "base", True)
    for name in ("tokenizer.json", "vocab.json", "preprocessor_config.json"):
        (tmp_path / "base" / name).write_text('{"of": "base"}')
    save(tmp_path / "a", True, grown=GROWN, trainable_token_indices=indices)
    (tmp_path / "a" / "tokenizer.json").write_text('{"of": "adapter"}')
    export_adapter(tmp_path / "a", tmp_path / "f", format="full", base=str(tmp_path / "base"))
    assert json.loads((tmp_path / "f" / "tokenizer.json").read_text()) == {"of": "adapter"}
    assert not (tmp_path / "f" / "vocab.json").exists()
    assert (tmp_path / "f" / "preprocessor_config.json").is_file()


HEAD_ALONE: dict[str, dict[str, Any]] = {
    "update": {"target_modules": ["q_proj", "lm_head"]},
    "weights": {"modules_to_save": ["lm_head"]},
    "rows": {"trainable_token_indices": {"lm_head": [4]}},
}


@pytest.mark.parametrize("settings", HEAD_ALONE.values(), ids=HEAD_ALONE)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_change_of_the_head_alone_is_not_lost_in_tied_weights(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    save_base(tmp_path / "base", True)
    save(tmp_path / "a", True, **settings)
    path = tmp_path / "a" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"ensure_weight_tying": True}))
    with pytest.raises(MergeError, match="ensure_weight_tying is set"):
        export_adapter(tmp_path / "a", tmp_path / "f", format="full", base=str(tmp_path / "base"))
