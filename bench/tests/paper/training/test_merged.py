"""Two experts trained, merged, checked against the base, and landed in it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

import robustmerge
from bench_factories.conversations import source_of, write
from bench_factories.tiny_models import save
from robustmerge.cli.app import run
from robustmerge.live.loaded import landed
from robustmerge_bench.paper.training.conversations import Source
from robustmerge_bench.paper.training.device import DeviceConfig
from robustmerge_bench.paper.training.recipe import TrainingRecipe
from robustmerge_bench.paper.training.train import train


def two_experts(base: Path, source: Source, folder: Path, **settings: Any) -> list[Path]:
    """Experts of two halves of the conversations."""
    data_records = json.loads(source.path.read_text())
    recipe = TrainingRecipe(rank=2, batch=2, learning_rate=3e-3, projector_rate=1e-3, **settings)
    result = []
    for name, part in (("even", data_records[:6:2]), ("odd", data_records[1::2])):
        (half,) = [source_of(write(source.path.parent / f"{name}.json", part), name)]
        train(str(base), [half], folder / name, task=name, recipe=recipe, device=DeviceConfig())
        result.append(folder / name)
    return result


SLOW = [pytest.param(family, marks=pytest.mark.slow) for family in ("qwen3_vl", "idefics3")]


@pytest.mark.parametrize("family", ["llava", *SLOW])
def test_experts_merge_and_land(
    family: str, tmp_path: Path, source: Source, capfd: pytest.CaptureFixture[str]
) -> None:
    base = save(family, tmp_path / "base")
    experts = two_experts(base, source, tmp_path)
    starts = [json.loads((e / "training.json").read_text())["start_sha256"] for e in experts]
    assert starts[0] == starts[1]
    report = robustmerge.merge(experts, tmp_path / "merged", method="task-arithmetic", rank="full")
    assert not report.warnings
    for folder in (*experts, tmp_path / "merged"):
        assert run(["check", str(folder), "--base", str(base)]) == 0
    assert run(["show", *map(str, experts)]) == 0
    assert "shared initialization" in " ".join(capfd.readouterr().out.split())
    model = AutoModelForImageTextToText.from_pretrained(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        landed(PeftModel.from_pretrained(model, str(tmp_path / "merged")), tmp_path / "merged")
    parts = [load_file(expert / "adapter_model.safetensors") for expert in experts]
    merged = load_file(tmp_path / "merged" / "adapter_model.safetensors")
    whole = [name for name in merged if "lora_" not in name]
    assert whole
    for name in whole:
        torch.testing.assert_close(merged[name], (parts[0][name] + parts[1][name]) / 2)


def test_independent_starts_are_reported(
    llava: Path, source: Source, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    experts = two_experts(llava, source, tmp_path, init="independent", projector="frozen")
    records = [json.loads((expert / "training.json").read_text()) for expert in experts]
    assert {record["recipe"]["init"] for record in records} == {"independent"}
    assert records[0]["start_sha256"] != records[1]["start_sha256"]
    assert run(["show", *map(str, experts)]) == 0
    assert "independent initializations" in " ".join(capfd.readouterr().out.split())
