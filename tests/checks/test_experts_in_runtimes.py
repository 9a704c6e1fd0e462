"""Layouts of experts that vLLM and llama.cpp's converter take."""

from __future__ import annotations

from pathlib import Path

import pytest

import robustmerge
from factories.experts import FAMILIES, seeded, targets, trained
from robustmerge.adapter.base import Base
from robustmerge.checks.contents import Contents
from robustmerge.checks.findings import CheckStatus, Finding
from robustmerge.checks.runtimes.llama_cpp import LLAMA_CPP
from robustmerge.checks.runtimes.vllm import VLLM
from robustmerge.cli.app import run

Capture = pytest.CaptureFixture[str]


def folders(family: str, folder: Path) -> tuple[Path, Path, Path]:
    """Write a fused adapter, the same one by one, and its base."""
    build = FAMILIES[family][0]
    trained(build, folder / "fused", 1, target_parameters=targets("mlp"), task_type="CAUSAL_LM")
    seeded(build).save_pretrained(str(folder / "base"))
    robustmerge.convert(
        folder / "fused", folder / "single", layout="projections", base=folder / "base"
    )
    return folder / "fused", folder / "single", folder / "base"


def experts(folder: Path, base: Path | None = None) -> dict[str, Finding]:
    contents = Contents.open(folder, Base(str(base)) if base else None)
    return {r.name: r.limits["experts"](contents) for r in (VLLM, LLAMA_CPP)}


def test_single_experts_are_what_most_families_take(tmp_path: Path, capsys: Capture) -> None:
    fused, single, base = folders("Qwen3-MoE", tmp_path)
    before, after = experts(fused, base), experts(single, base)
    assert {f.verdict for f in before.values()} == {CheckStatus.FAILS}
    assert all("--layout projections" in f.advice for f in before.values())
    assert {f.verdict for f in after.values()} == {CheckStatus.OK}
    assert run(["check", str(fused), "--base", str(base), "--for", "vllm"]) == 1
    assert "experts.base_layer" in capsys.readouterr().out
    assert run(["check", str(single), "--base", str(base), "--for", "vllm"]) == 0


def test_vllm_takes_fused_experts_of_the_families_that_it_stores_so(tmp_path: Path) -> None:
    fused, single, base = folders("gpt-oss", tmp_path)
    assert experts(fused, base)["vllm"].verdict is CheckStatus.OK
    assert experts(single, base)["vllm"].verdict is CheckStatus.FAILS
    assert "--layout fused" in experts(single, base)["vllm"].advice


def test_without_a_base_nothing_is_known(tmp_path: Path) -> None:
    fused, single, _ = folders("Mixtral", tmp_path)
    assert experts(fused)["vllm"].verdict is CheckStatus.NOTE
    assert experts(single)["vllm"].verdict is CheckStatus.OK
