"""One adapter at a smaller rank: the best approximation of every module's update."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import robustmerge
from factories.adapters import LLM, adapter, deltas
from factories.families import attach, build, logits, save_adapter
from robustmerge.cli.app import run
from robustmerge.errors import MergeError

Capture = pytest.CaptureFixture[str]


def truncated(delta: torch.Tensor, rank: int) -> torch.Tensor:
    U, S, Vh = torch.linalg.svd(delta, full_matrices=False)
    return U[:, :rank] * S[:rank] @ Vh[:rank]


@pytest.mark.parametrize("rank", [1, 3])
def test_updates_are_the_truncated_svd(tmp_path: Path, rank: int) -> None:
    source = adapter(tmp_path / "a", rank=5, alpha=7, use_rslora=True)
    report = robustmerge.resize(source, tmp_path / "out", rank=rank)
    small, kept = deltas(tmp_path / "out"), {m.name: m.energy for m in report.modules}
    for name, delta in deltas(source).items():
        wanted = truncated(delta, rank)
        torch.testing.assert_close(small[name], wanted, atol=1e-5, rtol=1e-5)
        share = float(wanted.square().sum() / delta.square().sum())
        assert kept[name] == pytest.approx(share, abs=1e-6)
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"]) == (rank, rank)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_the_rank_by_energy_is_the_smallest_that_keeps_it_in_every_module(
    tmp_path: Path, share: float
) -> None:
    source = adapter(tmp_path / "a", rank=6)
    needed = []
    for delta in deltas(source).values():
        kept = torch.linalg.svdvals(delta).square().cumsum(0)
        needed.append(int((kept < share * kept[-1]).sum()) + 1)
    report = robustmerge.resize(source, tmp_path / "out", rank=f"energy:{share}")
    assert report.rank == max(needed)
    assert report.energy[1] >= share


def test_a_limit_above_the_rank_changes_nothing(tmp_path: Path) -> None:
    source = adapter(tmp_path / "a", rank=4)
    report = robustmerge.resize(source, tmp_path / "out", rank=64)
    assert (report.rank, report.energy) == (4, (1.0, 1.0))
    for name, delta in deltas(source).items():
        torch.testing.assert_close(deltas(tmp_path / "out")[name], delta, atol=1e-5, rtol=1e-5)


def test_fully_trained_parameters_are_passed_on(tmp_path: Path) -> None:
    name = "model.multi_modal_projector.linear_1.weight"
    extras = {name: torch.randn(6, 6).to(torch.bfloat16)}
    settings = {"extras": extras, "modules_to_save": ["multi_modal_projector"]}
    source = adapter(tmp_path / "a", dtype=torch.bfloat16, **settings)
    robustmerge.resize(source, tmp_path / "out", rank=2)
    written = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert torch.equal(written[f"base_model.model.{name}"], extras[name])


def test_dora_stays_dora(tmp_path: Path) -> None:
    source = save_adapter("llava", tmp_path / "dora", seed=1, rank=3, use_dora=True)
    robustmerge.resize(source, tmp_path / "out", rank=8)
    before, after = (logits("llava", attach(build("llava"), f)) for f in (source, tmp_path / "out"))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rank", ["input", "full", 0, "energy:2", "half"])
def test_other_ranks_are_refused(tmp_path: Path, rank: int | str) -> None:
    source = adapter(tmp_path / "a")
    with pytest.raises(MergeError) as caught:
        robustmerge.resize(source, tmp_path / "out", rank=rank)
    assert "energy:0.99" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_a_file_next_to_the_adapter_is_passed_on(tmp_path: Path) -> None:
    source = adapter(tmp_path / "a")
    extras = {"model.language_model.norm.weight": torch.randn(3)}
    save_file(extras, source / "non_lora.safetensors")
    robustmerge.resize(source, tmp_path / "out", rank=2)
    written = load_file(tmp_path / "out" / "non_lora.safetensors")
    assert written.keys() == extras.keys()
    assert all(torch.equal(written[name], extras[name]) for name in extras)


def test_the_command(tmp_path: Path, capsys: Capture) -> None:
    source = adapter(tmp_path / "a", rank=4)
    out = tmp_path / "out"
    assert run(["resize", str(source), "-o", str(out), "--rank", "2"]) == 0
    printed = capsys.readouterr().out
    assert "2 (before: 4)" in printed
    assert run(["resize", str(source), "-o", str(out), "--rank", "2"]) == 1
    assert "the output exists" in capsys.readouterr().err
    assert run(["resize", str(source), "-o", str(out), "--rank", "1", "--force", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["output"]["rank"] == 1
    assert set(record["modules"]) == set(LLM)
    assert run(["check", str(out)]) == 0
    card = (out / "README.md").read_text()
    assert "Made of one LoRA adapter of `tiny/base`" in card
