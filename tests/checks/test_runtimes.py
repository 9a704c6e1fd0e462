"""Every limit of every runtime: an adapter that keeps it, and one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file

from factories.adapters import LLM, adapter
from robustmerge.checks.contents import Contents
from robustmerge.checks.findings import CheckStatus, Finding
from robustmerge.checks.runtimes import RUNTIMES, judge, peft, version_note
from robustmerge.cli.app import run
from robustmerge.cli.check import RuntimeName

TOWER = {"model.vision_tower.encoder.layers.0.self_attn.q_proj": (16, 16)}
PROJECTOR = {"model.multi_modal_projector.linear_1.weight": torch.ones(3, 2)}
NORM = {"model.language_model.layers.0.input_layernorm.weight": torch.ones(3)}
HEAD = {"lm_head.base_layer.weight": torch.ones(3, 2)}
BY_MODULE = {"ranks": {name: 2 for name in LLM if "q_proj" in name}, "rank_pattern": {"q_proj": 2}}


def findings(runtime: str, folder: Path) -> dict[str, Finding]:
    contents = Contents.open(folder)
    return {name: judge(limit, contents) for name, limit in RUNTIMES[runtime].limits.items()}


def failing(runtime: str, folder: Path) -> set[str]:
    return {n for n, f in findings(runtime, folder).items() if f.verdict is CheckStatus.FAILS}


def noted(runtime: str, folder: Path) -> set[str]:
    return {n for n, f in findings(runtime, folder).items() if f.verdict is CheckStatus.NOTE}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_plain_adapter_keeps_all_limits(runtime: str, tmp_path: Path) -> None:
    for finding in findings(runtime, adapter(tmp_path)).values():
        assert finding == Finding(CheckStatus.OK)


@pytest.mark.parametrize(
    ("settings", "broken"),
    [
        ({"use_dora": True}, {"vllm plain LoRA", "sglang plain LoRA", "llama.cpp plain LoRA"}),
        ({"use_qalora": True}, {"vllm plain LoRA", "sglang plain LoRA", "llama.cpp plain LoRA"}),
        (
            {"extras": {"model.language_model.q_proj.lora_magnitude_vector": torch.ones(3)}},
            {"vllm plain LoRA", "sglang plain LoRA", "llama.cpp plain LoRA"},
        ),
        ({"bias": "lora_only"}, {"vllm biases", "sglang biases"}),
        ({"lora_bias": True}, {"vllm biases", "sglang biases"}),
        (
            {"extras": {"model.language_model.x.lora_B.bias": torch.ones(3)}},
            {"vllm biases", "sglang biases", "llama.cpp tensors"},
        ),
        (
            {"extras": PROJECTOR},
            {
                *("vllm fully trained parameters", "sglang fully trained parameters"),
                "llama.cpp tensors",
            },
        ),
        (
            {"modules_to_save": ["norm"]},
            {"vllm fully trained parameters", "sglang fully trained parameters"},
        ),
        (
            {"extras": NORM},
            {
                *("vllm fully trained parameters", "sglang fully trained parameters"),
                "llama.cpp tensors",
            },
        ),
        ({"extras": HEAD}, set()),
        ({"init_lora_weights": "pissa_niter_4"}, {"vllm initialization"}),
        ({"init_lora_weights": "gaussian"}, set()),
        (
            {"modules": LLM | TOWER},
            {"vllm modules", "sglang modules", "llama.cpp modules"},
        ),
        ({"modules": LLM | {"lm_head": (16, 8)}}, set()),
        ({"target_modules": r".*_proj"}, {"sglang target_modules"}),
        ({"target_modules": "all-linear"}, set()),
        ({"use_rslora": True}, {"sglang scaling", "llama.cpp scaling"}),
        ({"alpha_pattern": {"q_proj": 2}}, {"sglang scaling", "llama.cpp scaling"}),
        ({"alpha_pattern": {"q_proj": 8}}, set()),  # what lora_alpha says anyway
        (BY_MODULE, {"sglang scaling"}),
        (BY_MODULE | {"alpha_pattern": {"q_proj": 4}}, {"sglang scaling", "llama.cpp scaling"}),
        ({"lora_alpha": "x"}, {"sglang scaling", "vllm patterns", "llama.cpp scaling"}),
        ({"rank": 513}, {"vllm rank"}),
        ({"base_model_name_or_path": "llava-onevision-qwen2-7b-ov-hf"}, {"vllm family"}),
    ],
    ids=lambda value: str(value if isinstance(value, dict) else sorted(value))[:60],
)
def test_limits_that_do_not_hold(
    settings: dict[str, Any], broken: set[str], tmp_path: Path
) -> None:
    folder = adapter(tmp_path, **settings)
    result = {f"{runtime} {name}" for runtime in RUNTIMES for name in failing(runtime, folder)}
    assert result == broken


@pytest.mark.parametrize(
    ("rank", "flag"),
    [(1, ""), (16, ""), (17, "rank 32"), (64, "rank 64"), (300, "rank 320"), (512, "rank 512")],
)
def test_vllm_is_told_the_rank(rank: int, flag: str, tmp_path: Path) -> None:
    result = findings("vllm", adapter(tmp_path, rank=rank))["rank"]
    assert result.verdict is (CheckStatus.NOTE if flag else CheckStatus.OK)
    assert result.advice.endswith(f"--max-lora-{flag}" if flag else "")


def test_the_largest_rank_counts(tmp_path: Path) -> None:
    folder = adapter(tmp_path, ranks={max(LLM): 40}, rank_pattern={max(LLM).rpartition(".")[2]: 40})
    assert "64" in findings("vllm", folder)["rank"].advice


def test_conditions_are_notes(tmp_path: Path) -> None:
    assert noted("vllm", adapter(tmp_path / "a", **BY_MODULE)) == {"patterns"}
    assert noted("vllm", adapter(tmp_path / "b", use_rslora=True)) == set()
    llava = adapter(tmp_path / "c", base_model_name_or_path="llava-hf/llava-1.5-7b-hf")
    assert noted("sglang", llava) == {"family"}
    vocabulary = adapter(tmp_path / "d", modules=LLM | {"lm_head": (16, 8)})
    assert noted("llama.cpp", vocabulary) == {"vocabulary"}
    assert failing("sglang", llava) == set()


@pytest.mark.parametrize(
    ("old", "new"), [(".weight", ".default.weight"), ("base_model.model.", "")]
)
def test_keys_must_be_as_peft_writes_them(old: str, new: str, tmp_path: Path) -> None:
    path = adapter(tmp_path) / "adapter_model.safetensors"
    save_file({name.replace(old, new): t for name, t in load_file(path).items()}, path)
    for runtime in ("vllm", "sglang", "llama.cpp"):
        assert failing(runtime, tmp_path) == {"keys"}
    assert failing("peft", tmp_path) == set()


def test_a_name_without_a_place_is_an_odd_key(tmp_path: Path) -> None:
    odd = adapter(tmp_path, extras={"model.q_proj.lora_C.weight": torch.ones(2)})
    assert "lora_C" in findings("vllm", odd)["keys"].text


def test_old_names_need_a_base_to_be_judged(tmp_path: Path) -> None:
    modules = {"model.layers.0.mlp.up_proj": (4, 4)}
    unknown = adapter(tmp_path / "unknown", modules=modules)
    assert noted("peft", unknown) == {"names"}
    mapping = {"base_model_class": "Qwen2VLForConditionalGeneration", "parent_library": "x"}
    known = adapter(tmp_path / "known", modules=modules, auto_mapping=mapping)
    assert findings("peft", known)["names"] == Finding(
        CheckStatus.FAILS,
        "with transformers since 4.52, 2 of 2 tensors find no module, such as "
        "model.layers.0.mlp.up_proj",
        "merge with --layout hf",
    )


def test_settings_by_old_names_select_nothing_any_more(tmp_path: Path) -> None:
    name = "language_model.model.layers.0.mlp.up_proj"
    folder = adapter(tmp_path, modules={name: (4, 4)}, target_modules=[name])
    assert failing("peft", folder) == {"settings"}
    settings = tmp_path / "adapter_config.json"
    settings.write_text(
        json.dumps(json.loads(settings.read_text()) | {"target_modules": ["up_proj"]})
    )
    assert failing("peft", folder) == set()


def test_the_command_takes_every_runtime() -> None:
    assert get_args(RuntimeName) == tuple(RUNTIMES)
    assert {name for name, runtime in RUNTIMES.items() if runtime.decides_exit_code} == {"peft"}


def test_versions_that_do_not_go_together_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = {"peft": "0.21.2", "transformers": "5.24.0"}
    monkeypatch.setattr(peft, "version", versions.__getitem__)
    monkeypatch.setattr(peft, "_required_by_transformers", lambda: "0.22.0")
    note = version_note()
    for part in (*versions.values(), "0.22.0", "PeftModel.from_pretrained"):
        assert part in note
    folder = str(adapter(tmp_path / "a"))
    assert run(["check", folder]) == run(["check", folder, "--for", "peft"]) == 0
    assert capsys.readouterr().err.count(note) == 2
    assert run(["check", folder, "--for", "vllm"]) == run(["check", folder, "--json"]) == 0
    assert note not in capsys.readouterr().err
    for fine in ("0.22.0", "0.22.0rc1", "0.23", "1"):
        versions["peft"] = fine
        assert version_note() == ""
    versions["peft"] = "0.9.1"
    assert version_note()


def test_without_such_a_demand_nothing_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peft, "_required_by_transformers", lambda: "")
    assert version_note() == ""
