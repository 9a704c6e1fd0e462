"""What the programs that load adapters do with situations that people reported.

Each case names what people see, where it was reported, and the right verdict. The programs' own
versions are in the rows of `checks/runtimes`; `tests/clients` runs the programs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from factories.adapters import LLM, adapter
from factories.checkpoints import base, weights
from robustmerge.adapter.base import Base
from robustmerge.adapter.layout import written
from robustmerge.checks.contents import Contents
from robustmerge.checks.findings import CheckStatus, Finding
from robustmerge.checks.runtimes import RUNTIMES, judge, llama_cpp, sglang, vllm
from robustmerge.checks.runtimes.support import FamilySupport

OK, NOTE, FAILS = CheckStatus.OK, CheckStatus.NOTE, CheckStatus.FAILS
EMBEDDINGS = "model.language_model.embed_tokens"
TOWER = "model.vision_tower.encoder.layers.0.self_attn"
BLOCK = "model.language_model.layers.0"


def finding(program: str, limit: str, folder: Path, model: Path | None = None) -> Finding:
    opened = Base(str(model), headers_only=True) if model else None
    contents = Contents.open(folder, opened)
    try:
        return judge(RUNTIMES[program].limits[limit], contents)
    finally:
        contents.close()
        if opened:
            opened.close()


def named(folder: Path, layout: str, modules: dict[str, tuple[int, int]] = LLM) -> Path:
    return adapter(folder, modules={written(n, layout): shape for n, shape in modules.items()})


def of_kind(folder: Path, kind: str, **settings: Any) -> Path:
    return base(folder, model_type=kind, **settings)


# vLLM serves the bare base, in silence: vllm-project/vllm #50252, #41754, #40005

LANDS_FLAT = {"qwen2_vl", "qwen2_5_vl", "mistral3"}
WITH_OLD_NAMES = sorted(
    kind for kind, row in vllm.FAMILIES.items() if row.lora and kind not in ("idefics3", "smolvlm")
)


@pytest.mark.parametrize("kind", WITH_OLD_NAMES)
def test_flat_names_in_vllm_by_family(kind: str, tmp_path: Path) -> None:
    model = of_kind(tmp_path / "base", kind)
    result = finding("vllm", "names", named(tmp_path / "flat", "flat"), model)
    assert result.verdict is (OK if kind in LANDS_FLAT else FAILS)
    for layout in ("hf", "hf-old"):
        folder = named(tmp_path / layout, layout)
        assert finding("vllm", "names", folder, model).verdict is OK


def test_names_of_the_original_llava_code_mean_nothing_to_vllm(tmp_path: Path) -> None:
    llava = adapter(
        tmp_path / "a",
        modules={written(n, "llava"): s for n, s in LLM.items()},
        base_model_name_or_path="liuhaotian/llava-v1.5-7b",
    )
    result = finding("vllm", "names", llava)
    assert result.verdict is FAILS
    assert "--layout hf" in result.advice
    assert "vLLM 0.32, run 2026-11-2" in result.text


def test_flat_names_of_an_unknown_family_need_the_base(tmp_path: Path) -> None:
    result = finding("vllm", "names", named(tmp_path, "flat"))
    assert result.verdict is NOTE
    assert "--base MODEL" in result.advice


def test_names_of_today_mean_nothing_in_a_text_only_model(tmp_path: Path) -> None:
    text = {
        name.replace("model.language_model", "model"): t
        for name, t in weights().items()
        if "vision" not in name and "projector" not in name
    }
    model = base(tmp_path / "base", text, model_type="llama")
    assert finding("vllm", "names", named(tmp_path / "flat", "flat"), model).verdict is OK
    lost = finding("vllm", "names", named(tmp_path / "hf", "hf"), model)
    assert lost.verdict is FAILS
    assert "--layout flat" in lost.advice


# --enable-tower-connector-lora: vllm-project/vllm #31479, #31513, #35147


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("llava", "stops at the first image"),
        ("mistral3", "whatever the server's settings"),
        ("internvl", "whatever the server's settings"),
        ("llava_next", "names them otherwise"),  # vision_tower.vision_model, as before 5.0
        ("gemma3", "names them otherwise"),
    ],
)
def test_the_tower_flag_does_not_help_every_family(kind: str, text: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", modules=LLM | {f"{TOWER}.q_proj": (16, 16)})
    result = finding("vllm", "modules", folder, of_kind(tmp_path / "base", kind))
    assert result.verdict is FAILS
    assert text in result.text
    assert "--leave-out '*vision_tower*'" in result.advice


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_the_tower_flag_helps_qwen(kind: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", modules=LLM | {"model.visual.blocks.0.attn.proj": (16, 16)})
    result = finding("vllm", "modules", folder, of_kind(tmp_path / "base", kind))
    assert (result.verdict, result.advice) == (
        FAILS,
        "start the server with --enable-tower-connector-lora",
    )


@pytest.mark.parametrize("kind", ["mllama", "llava_onevision"])
def test_families_without_lora_in_vllm(kind: str, tmp_path: Path) -> None:
    model = of_kind(tmp_path / "base", kind)
    result = finding("vllm", "family", adapter(tmp_path / "a"), model)
    assert result.verdict is FAILS
    assert "export" in result.advice


def test_a_llava_saved_by_transformers_5_does_not_load_in_vllm(tmp_path: Path) -> None:
    tensors = weights()
    old = {**tensors, "vision_tower.vision_model.embeddings.class_embedding": torch.ones(4)}
    new = {**tensors, "model.vision_tower.embeddings.class_embedding": torch.ones(4)}
    del old["model.vision_tower.embeddings.position_ids"]
    folder = adapter(tmp_path / "a")
    assert finding("vllm", "base", folder, base(tmp_path / "old", old)).verdict is OK
    assert finding("vllm", "base", folder, base(tmp_path / "new", new)).verdict is FAILS


def test_vllm_refuses_settings_without_targets(tmp_path: Path) -> None:
    folder = adapter(tmp_path)
    settings = json.loads((folder / "adapter_config.json").read_text())
    del settings["target_modules"]
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    assert finding("vllm", "settings", folder).verdict is FAILS


# lm_head and embeddings in vLLM: ValueError "expected target modules in …" for Qwen2-VL


@pytest.mark.parametrize("module", [EMBEDDINGS, "lm_head"])
@pytest.mark.parametrize(
    ("family", "text", "verdict"),
    [
        ("llava", "llama", OK),
        ("llava_next", "mistral", OK),
        ("llava", "qwen2", FAILS),
        ("qwen2_vl", "qwen2_vl_text", FAILS),
        ("qwen2_5_vl", None, FAILS),
        ("qwen3_vl", "qwen3_vl_text", OK),
        ("gemma3", "gemma3_text", FAILS),
        ("smolvlm", "llama", FAILS),
        ("llava", "unknown", NOTE),
    ],
    ids=str,
)
def test_lora_on_the_vocabulary_in_vllm(
    module: str, family: str, text: str | None, verdict: CheckStatus, tmp_path: Path
) -> None:
    folder = adapter(tmp_path / "a", modules=LLM | {module: (20, 16)})
    settings = {"text_config": {"model_type": text}} if text else {}
    model = of_kind(tmp_path / "base", family, **settings)
    result = finding("vllm", "vocabulary", folder, model)
    assert result.verdict is verdict
    assert ("--leave-out" in result.advice) is (verdict is FAILS)
    assert finding("vllm", "vocabulary", folder).verdict is NOTE
    assert finding("vllm", "vocabulary", adapter(tmp_path / "b"), model).verdict is OK


# lm_head and embeddings in llama.cpp: ggml-org/llama.cpp #9065, #9948


@pytest.mark.parametrize("module", [EMBEDDINGS, "lm_head"])
@pytest.mark.parametrize(
    ("settings", "head", "verdict"),
    [
        ({"tie_word_embeddings": True}, True, FAILS),
        ({"text_config": {"tie_word_embeddings": True}}, True, FAILS),
        ({"tie_word_embeddings": False}, True, OK),
        ({}, False, FAILS),
        ({}, True, OK),
    ],
    ids=str,
)
def test_lora_on_the_vocabulary_in_llama_cpp(
    module: str, settings: dict[str, Any], head: bool, verdict: CheckStatus, tmp_path: Path
) -> None:
    folder = adapter(tmp_path / "a", modules=LLM | {module: (20, 16)})
    model = base(tmp_path / "base", weights(head=head), **settings)
    assert finding("llama.cpp", "vocabulary", folder, model).verdict is verdict
    assert finding("llama.cpp", "vocabulary", folder).verdict is NOTE


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("model.multi_modal_projector.linear_1.weight", "without a word"),
        ("model.language_model.layers.0.input_layernorm.weight", "without a word"),
        ("model.language_model.norm.weight", "without a word"),
        ("lm_head.weight", "stops at"),
        (f"{EMBEDDINGS}.weight", "stops at"),
    ],
)
def test_what_llama_cpp_does_with_fully_trained_tensors(
    name: str, text: str, tmp_path: Path
) -> None:
    result = finding("llama.cpp", "tensors", adapter(tmp_path, extras={name: torch.ones(3)}))
    assert result.verdict is FAILS
    assert text in result.text


@pytest.mark.parametrize("kind", ["idefics3", "smolvlm", "internvl", "llava_onevision"])
def test_families_that_llama_cpp_converts_by_their_text_settings(kind: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    named = {"text_config": {"architectures": ["LlamaForCausalLM"]}}
    bare, whole = of_kind(tmp_path / "bare", kind), of_kind(tmp_path / "whole", kind, **named)
    assert finding("llama.cpp", "family", folder, bare).verdict is FAILS
    assert finding("llama.cpp", "family", folder, whole).verdict is OK


def test_llama_cpp_has_no_mllama(tmp_path: Path) -> None:
    model = of_kind(tmp_path / "base", "mllama")
    assert finding("llama.cpp", "family", adapter(tmp_path / "a"), model).verdict is FAILS


# SGLang's fused layers: sgl-project/sglang #9897, #25528


@pytest.mark.parametrize(
    ("leaves", "verdict", "text"),
    [
        (["self_attn.q_proj"], FAILS, "KeyError"),
        (["self_attn.q_proj", "self_attn.k_proj"], FAILS, "KeyError"),
        (["self_attn.v_proj"], FAILS, "without q_proj"),
        (["self_attn.k_proj"], FAILS, "without q_proj"),
        (["mlp.up_proj"], FAILS, "without gate_proj"),
        (["mlp.gate_proj"], OK, ""),
        (["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"], OK, ""),
    ],
    ids=str,
)
def test_parts_of_fused_layers_in_sglang(
    leaves: list[str], verdict: CheckStatus, text: str, tmp_path: Path
) -> None:
    folder = adapter(tmp_path, modules={f"{BLOCK}.{leaf}": (8, 8) for leaf in leaves})
    result = finding("sglang", "fused layers", folder)
    assert result.verdict is verdict
    assert text in result.text


@pytest.mark.parametrize("module", [EMBEDDINGS, "lm_head"])
def test_sglang_takes_the_vocabulary_where_it_is_listed(module: str, tmp_path: Path) -> None:
    listed = adapter(tmp_path / "a", modules=LLM | {module: (20, 16)})
    assert finding("sglang", "modules", listed).verdict is OK
    assert finding("sglang", "vocabulary", listed).verdict is OK
    unlisted = adapter(
        tmp_path / "b", modules=LLM | {module: (20, 16)}, target_modules=["q_proj", "v_proj"]
    )
    assert finding("sglang", "vocabulary", unlisted).verdict is FAILS


def test_sglang_refuses_a_pattern_whatever_its_settings(tmp_path: Path) -> None:
    result = finding("sglang", "target_modules", adapter(tmp_path, target_modules=r".*q_proj"))
    assert result.verdict is FAILS
    assert "server" not in result.advice


def test_every_row_names_how_it_is_known() -> None:
    for rows in (vllm.FAMILIES, sglang.FAMILIES, llama_cpp.FAMILIES):
        for row in rows.values():
            assert isinstance(row, FamilySupport)
            assert row.evidence.how in ("run", "read")
            assert row.lora or row.why
