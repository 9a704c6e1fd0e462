"""Blocks that are built in other ways than Llama's: norms after, branches at once, experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from factories.bases import adapt, lines, tokenizer
from factories.families import _TEXT, _quiet
from robustmerge import relay
from robustmerge.collect.model import adapted_layers
from robustmerge.prompted.anatomy import BlockAnatomy, observe
from robustmerge.prompted.blocks import LanguageBlocks

_MORE: dict[str, dict[str, Any]] = {
    "gemma3_text": {"query_pre_attn_scalar": 16, "sliding_window": 4},
    "olmo2": {},
    "gpt_neox": {"head_dim": None},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    "mistral": {},
    "qwen2": {},
    "phi": {"head_dim": None},
}
_TARGETS = {
    "gpt_neox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
    "qwen3_moe": ["q_proj", "v_proj", "o_proj"],
    "phi": ["q_proj", "v_proj", "dense", "fc1", "fc2"],
}
_USUAL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with _quiet():
        yield


def language_model(kind: str) -> nn.Module:
    settings = {k: v for k, v in (_TEXT | _MORE[kind]).items() if v is not None}
    if kind in ("gpt_neox", "phi"):
        settings["num_key_value_heads"] = 4
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval()


def observed(kind: str, index: int = 0) -> tuple[BlockAnatomy, torch.Tensor, torch.Tensor]:
    """The anatomy of a block, and logits of the model in two ways."""
    config = LoraConfig(r=2, target_modules=_TARGETS.get(kind, _USUAL), init_lora_weights=False)
    model = get_peft_model(language_model(kind), config).eval()
    layers = adapted_layers(model, ["default"])
    blocks = LanguageBlocks(model, list(layers), torch.device("cpu"))
    ids = torch.arange(3, 12)[None]
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    start = blocks.start(batch)
    anatomy = observe(blocks, index, layers, start.hidden, start.calls[index])
    with torch.no_grad():
        state = start.hidden
        for number in range(len(blocks)):
            state = blocks.step(number, state, start.calls[number])
        return anatomy, blocks.finish(batch, state, start), model(**batch).logits[0]


@pytest.mark.parametrize("kind", _MORE)
def test_blocks_make_up_the_model(kind: str) -> None:
    _, stepped, whole = observed(kind)
    torch.testing.assert_close(stepped, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "residuals"),
    [
        ("mistral", {"o_proj", "down_proj"}),
        ("qwen2", {"o_proj", "down_proj"}),
        ("gemma3_text", set()),  # a norm stands between a module and the stream
        ("olmo2", set()),
        ("gpt_neox", set()),  # attention and MLP are added at once
        ("phi", set()),
        ("qwen3_moe", {"o_proj"}),
    ],
)
def test_what_is_added_to_the_stream_as_it_is(kind: str, residuals: set[str]) -> None:
    anatomy = observed(kind)[0]
    names = {name.rpartition(".")[2] for each in anatomy.sets for name in each.residuals}
    assert names == residuals
    assert sum(len(each.names) for each in anatomy.sets) == len(_TARGETS.get(kind, _USUAL))


@pytest.mark.parametrize("kind", ["gemma3_text", "gpt_neox"])
def test_a_merge_without_residual_targets(kind: str, tmp_path: Path) -> None:
    """It says so; and on prompts that it was made from, little of the divergence is left."""
    language_model(kind).save_pretrained(tmp_path / "base")
    tokenizer().save_pretrained(tmp_path / "base")
    settings = {"r": 2, "target_modules": _TARGETS.get(kind, _USUAL)}
    adapt(language_model(kind), {"one": settings, "two": settings}, tmp_path)
    for name, first in (("one", 5), ("two", 150)):
        rows = [{"text": f"w{first + k} w{first + 9 + k} w{first + 5 * k}"} for k in range(8)]
        lines(tmp_path / f"{name}.jsonl", [*rows, *rows[:2]])  # the last two are held out
    report = relay(
        [tmp_path / "one", tmp_path / "two"],
        tmp_path / "out",
        tmp_path / "base",
        [tmp_path / "one.jsonl", tmp_path / "two.jsonl"],
        longest=3,
        rank=24,
        ridge=1e-6,
    )
    assert any("residual stream" in warning for warning in report.warnings)
    assert all(task["left"] < 0.1 for task in report.facts.record["tasks"])
