"""What `show` finds in an adapter, refused or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from factories.adapters import LLM, adapter
from factories.families import FAMILIES, save_adapter
from robustmerge.adapter.tensor_files import BESIDE
from robustmerge.checks.contents import Contents
from robustmerge.checks.family import FamilyGuess, guess_family
from robustmerge.checks.summary import AdapterSummary, summarize

VISION = {"model.vision_tower.encoder.layers.0.self_attn.q_proj": (16, 16)}


def summary_of(folder: Path) -> AdapterSummary:
    contents = Contents.open(folder)
    try:
        return summarize(contents)
    finally:
        contents.close()


def remarks(folder: Path) -> str:
    return "\n".join(summary_of(folder).unusual)


def edit(folder: Path, **settings: Any) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder


def rename(folder: Path, old: str, new: str) -> Path:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name.replace(old, new): tensor for name, tensor in tensors.items()}, path)
    return folder


def test_a_plain_adapter(tmp_path: Path) -> None:
    facts = summary_of(adapter(tmp_path, dtype=torch.bfloat16))
    assert facts.base == "tiny/base"
    assert facts.layout == "hf"
    assert list(facts.towers) == ["language"]
    assert facts.towers["language"].modules == 6
    assert facts.towers["language"].blocks == 2
    assert facts.towers["language"].leaves == ("down_proj", "q_proj", "v_proj")
    assert facts.ranks == {4: 6}
    assert facts.scalings == {"2 = alpha 8 / 4": 6}
    assert facts.dtypes == {"BF16": 12}
    assert facts.bytes == (tmp_path / "adapter_model.safetensors").stat().st_size
    assert facts.extras == {}
    assert facts.unusual == ()
    assert facts.refusals == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_all_parts_of_every_family(family: str, tmp_path: Path) -> None:
    facts = summary_of(save_adapter(family, tmp_path, seed=1, targets="all-linear"))
    linear = "qwen" not in family and family != "gemma3"  # whose connector is a bare parameter
    assert set(facts.towers) == {"language", "vision"} | ({"connector"} if linear else set())
    assert facts.towers["language"].modules == 14
    assert facts.family == f"{family} (from the settings)"
    if family == "qwen2_vl":
        assert {"mlp.0", "mlp.2", "qkv"} < set(facts.towers["vision"].leaves)


def test_scalings_say_how_they_come_about(tmp_path: Path) -> None:
    ranks = dict.fromkeys([name for name in LLM if name.endswith("q_proj")], 2)
    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}}
    facts = summary_of(adapter(tmp_path, ranks=ranks, use_rslora=True, **patterns))
    assert facts.ranks == {2: 2, 4: 4}
    assert facts.scalings == {
        "5.657 = alpha 8 / √2, rsLoRA": 2,
        "1.5 = alpha 3 / √4, rsLoRA": 2,
        "4 = alpha 8 / √4, rsLoRA": 2,
    }
    assert "rank_pattern of 1; alpha_pattern of 1" in facts.unusual


def test_patterns_that_match_nothing_or_twice(tmp_path: Path) -> None:
    pattern = {"q_proj": 4, r"layers\.0\.self_attn\.q_proj": 4, "k_proj": 2, "[v": 1}
    text = remarks(adapter(tmp_path, rank_pattern=pattern))
    assert "rank_pattern of 4; no module matches 'k_proj', '[v'; several match" in text


def test_extras_and_their_shapes(tmp_path: Path) -> None:
    name = "model.multi_modal_projector.linear_1.weight"
    extras = {name: torch.ones(3, 2)}
    saved = ["multi_modal_projector"]
    facts = summary_of(adapter(tmp_path / "named", extras=extras, modules_to_save=saved))
    assert facts.extras == {name: (3, 2)}
    assert facts.unusual == ()
    assert "modules_to_save does not name" in remarks(adapter(tmp_path / "loose", extras=extras))
    text = remarks(adapter(tmp_path / "lacking", modules_to_save=saved))
    assert text == "modules_to_save names multi_modal_projector, of which there is no tensor"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"modules": LLM | VISION}, "1 modules outside the language model"),
        ({"modules": {"lm_head": (16, 8)}}, "LoRA on the vocabulary: lm_head"),
        ({"init_lora_weights": "gaussian"}, "initialized by 'gaussian'"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"target_modules": ["q_proj"]}, "target_modules does not select"),
        ({"target_modules": "*oops"}, "no regular expression"),
        ({"binary": True}, "weights in a pickle"),
        (
            {"extras": {"model.e.token_adapter.trainable_tokens_delta": torch.ones(3, 2)}},
            "3 rows of the embeddings",
        ),
        ({"extras": {"lm_head.base_layer.weight": torch.ones(3, 2)}}, "copies of base weights"),
        ({"extras": {"model.x.weight": torch.ones(3).half()}}, "tensors of several types"),
    ],
)
def test_what_is_unusual_is_said(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in remarks(adapter(tmp_path, **settings))


def test_remarks_on_names_and_files(tmp_path: Path) -> None:
    default = rename(adapter(tmp_path / "a"), ".weight", ".default.weight")
    assert "an adapter's name in the keys" in remarks(default)
    bare = rename(adapter(tmp_path / "b"), "base_model.model.", "")
    assert "keys without the prefix" in remarks(bare)
    (bare / "merge.json").write_text("{}")
    (bare / BESIDE).write_bytes(b"")
    assert "itself a merge" in remarks(bare)
    assert f"next to it in {BESIDE}" in remarks(bare)


def test_old_names_are_what_peft_loads_as_nothing(tmp_path: Path) -> None:
    folder = save_adapter("qwen2_vl", tmp_path / "qwen", seed=1)
    assert summary_of(rename(folder, "model.language_model.", "model.")).layout == "flat"
    assert "PEFT would load none of the tensors" in remarks(folder)
    mixed = save_adapter("llava", tmp_path / "llava", seed=1, targets="all-linear")
    rename(rename(mixed, "model.language_model", "language_model.model"), "model.multi_", "multi_")
    assert "PEFT would load 52 of 56 of the tensors" in remarks(mixed)
    text = {"model.layers.0.mlp.up_proj": (4, 4)}
    assert "unless it is text-only" in remarks(adapter(tmp_path / "unknown", modules=text))


def test_an_untrained_adapter(tmp_path: Path) -> None:
    path = adapter(tmp_path) / "adapter_model.safetensors"
    tensors = load_file(path)
    zero = {n: torch.zeros_like(t) if "lora_B" in n else t for n, t in tensors.items()}
    save_file(zero, path)
    assert summary_of(tmp_path).norm == 0
    assert summary_of(tmp_path).unusual == (
        "the whole update is zero: the adapter was never trained",
    )
    save_file(zero | {n: t for n, t in tensors.items() if "layers.0" in n}, path)
    assert summary_of(tmp_path).unusual == ("the update of 3 of 6 modules is zero",)


def test_a_refused_adapter_is_shown_all_the_same(tmp_path: Path) -> None:
    facts = summary_of(save_adapter("llava", tmp_path, seed=1, use_dora=True))
    assert facts.family == "llava (from the settings)"
    assert facts.towers["language"].modules == 14
    assert facts.ranks == {4: 14}
    assert facts.norm is None
    assert len(facts.refusals) == 1
    assert "use_dora" in facts.refusals[0]


def test_every_reason_is_given_once(tmp_path: Path) -> None:
    folder = adapter(tmp_path)
    (folder / "adapter_config.json").write_text("{")
    (folder / "adapter_model.safetensors").write_bytes(b"short")
    refusals = summary_of(folder).refusals
    assert len(refusals) == 2
    assert "not valid JSON" in refusals[0]
    assert "safetensors file: it has only 5 bytes" in refusals[1]
    assert summary_of(tmp_path / "nowhere").refusals[0].startswith("no such folder")


def test_nan_refuses_what_its_headers_do_not(tmp_path: Path) -> None:
    path = adapter(tmp_path) / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors[min(tensors)][0, 0] = torch.nan
    save_file(tensors, path)
    facts = summary_of(tmp_path)
    assert facts.norm is None
    assert "NaN" in facts.refusals[0]


@pytest.mark.parametrize(
    ("base", "candidates"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", ("qwen2_5_vl",)),
        ("Qwen/Qwen2-VL-2B", ("qwen2_vl",)),
        ("Qwen/Qwen3-VL-8B", ("qwen3_vl",)),
        ("llava-hf/llava-1.5-7b-hf", ("llava",)),
        ("llava-hf/llava-v1.6-mistral-7b-hf", ("llava_next",)),
        ("llava-hf/llava-onevision-qwen2-7b-ov-hf", ("llava_onevision",)),
        ("/cache/models--OpenGVLab--InternVL3-1B-hf/snapshots/0a1b2c", ("internvl",)),
        ("HuggingFaceTB/SmolVLM-Instruct", ("smolvlm", "idefics3")),
        ("HuggingFaceM4/Idefics3-8B-Llama3", ("idefics3",)),
        ("meta-llama/Llama-3.1-8B", ()),
        ("", ()),
    ],
)
def test_the_base_name_tells_the_family(
    base: str, candidates: tuple[str, ...], tmp_path: Path
) -> None:
    result = guess_family(Contents.open(adapter(tmp_path, base_model_name_or_path=base)))
    assert result == FamilyGuess(candidates, "base's name" if candidates else "")


@pytest.mark.parametrize("family", FAMILIES)
def test_module_names_tell_the_family(family: str, tmp_path: Path) -> None:
    folder = save_adapter(family, tmp_path, seed=1, targets="all-linear")
    edit(folder, auto_mapping=None, base_model_name_or_path="somewhere")
    result = guess_family(Contents.open(folder))
    assert result.source == "module names"
    assert family in result.candidates
    assert not any(("qwen" in other) != ("qwen" in family) for other in result.candidates)


def test_files_and_layout_tell_the_family(tmp_path: Path) -> None:
    modules = {"model.layers.0.mlp.up_proj": (4, 4)}
    original = adapter(tmp_path / "original", modules=modules)
    assert guess_family(Contents.open(original)) == FamilyGuess()
    projector = {"base_model.model.model.mm_projector.0.weight": torch.ones(2, 2)}
    torch.save(projector, original / "non_lora_trainables.bin")
    assert guess_family(Contents.open(original)).candidates == ("llava",)
    old = adapter(tmp_path / "old", modules={"language_model.model.layers.0.mlp.up_proj": (4, 4)})
    assert "internvl" in guess_family(Contents.open(old)).candidates
