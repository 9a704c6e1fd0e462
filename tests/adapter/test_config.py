"""Scalings as PEFT computes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as cases, strategies as st
from peft import LoraConfig
from peft.utils.other import get_pattern_key

from robustmerge.adapter.config import AdapterConfig

NAMES = [
    f"model.language_model.layers.{n}.{leaf}"
    for n in (0, 1, 10)
    for leaf in ("self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj")
]
PATTERNS = [
    "q_proj",
    "[qk]_proj",
    r"layers\.1\..*",
    "layers.1.*",
    "proj",
    "^model.*up_proj",
    NAMES[0],
]


def config(folder: Path, **settings: Any) -> AdapterConfig:
    raw = {"peft_type": "LORA", "r": 4, "lora_alpha": 6, **settings}
    (folder / "adapter_config.json").write_text(json.dumps(raw))
    return AdapterConfig.read(folder)


@cases(
    ranks=st.dictionaries(st.sampled_from(PATTERNS), st.integers(1, 9)),
    alphas=st.dictionaries(st.sampled_from(PATTERNS), st.integers(1, 9)),
    rslora=st.booleans(),
)
def test_patterns_and_scalings_are_pefts(
    tmp_path_factory: pytest.TempPathFactory,
    ranks: dict[str, int],
    alphas: dict[str, int],
    rslora: bool,
) -> None:
    folder = tmp_path_factory.mktemp("c")
    ours = config(folder, rank_pattern=ranks, alpha_pattern=alphas, use_rslora=rslora)
    for name in NAMES:
        rank = ranks.get(get_pattern_key(list(ranks), name), 4)
        alpha = alphas.get(get_pattern_key(list(alphas), name), 6)
        assert ours.rank_of(name) == rank
        expected = alpha / rank**0.5 if rslora else alpha / rank
        assert ours.scaling(name, rank) == pytest.approx(expected)


def test_everything_peft_saves_by_default_is_read(tmp_path: Path) -> None:
    LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj"]).save_pretrained(tmp_path)
    ours = AdapterConfig.read(tmp_path)
    assert (ours.rank, ours.alpha, ours.rslora, ours.base) == (8, 16, False, "")
