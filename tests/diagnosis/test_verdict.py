"""Sentences: each is said where its figures call for it, and nowhere else."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import robustmerge
from factories.planted_updates import orthonormal, planted, turned
from robustmerge.diagnosis.verdict import Sentence, verdict
from robustmerge.factors import Factors

NAME = "model.language_model.layers.0.self_attn.q_proj"
U, V = orthonormal(60, 24, 1), orthonormal(50, 24, 2)


def orthogonal(t: int, S: Sequence[float] = (3.0, 2.0)) -> Factors:
    """Adapters that share nothing."""
    where = slice(2 * t, 2 * t + 2)
    return planted(U[:, where], S, V[:, where])


def of_one_A(t: int) -> Factors:
    """Adapters of one A, of equal norms."""
    return Factors(V[:, :2].T.contiguous(), U[:, 2 * t : 2 * t + 2].contiguous())


def write(folder: Path, update: Factors) -> Path:
    folder.mkdir(parents=True)
    tensors: dict[str, Tensor] = {
        f"base_model.model.{NAME}.lora_{k}.weight": x.float().contiguous()
        for k, x in (("A", update.A), ("B", update.B))
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": "tiny/base",
        "r": update.rank,
        "lora_alpha": update.rank,
        "target_modules": ["q_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def said(
    tmp_path: Path, updates: Sequence[Factors], merges: Mapping[str, Factors] | None = None
) -> list[Sentence]:
    sources = [write(tmp_path / f"{t}", f) for t, f in enumerate(updates)]
    merged = [write(tmp_path / name, f) for name, f in (merges or {}).items()]
    sentences = list(verdict(robustmerge.diagnose(sources, merged)))
    for sentence in sentences:
        assert sentence.text.endswith(".")
    return sentences


def about(sentences: Sequence[Sentence], subject: str) -> list[tuple[str, str]]:
    return [(s.level, s.text) for s in sentences if s.subject == subject]


def summed(updates: Sequence[Factors], scale: float = 1.0) -> Factors:
    return Factors(
        torch.cat([f.A for f in updates]), torch.cat([scale * f.B for f in updates], dim=1)
    )


def test_orthogonal_adapters_of_unrelated_A(tmp_path: Path) -> None:
    sentences = said(tmp_path, [orthogonal(t) for t in range(5)])
    ((level, text),) = about(sentences, "together")
    assert (level, text[:18]) == ("good", "They can be merged")
    ((level, text),) = about(sentences, "factors")
    assert (level, text[:12]) == ("bad", "Do not merge")
    start = about(sentences, "start")
    assert "task-arithmetic --rank full --scale norm-matched" in start[0][1]
    assert "rank 10 holds 99%" in start[0][1]
    # two of ten directions, with 18 of 65
    assert start[1][1].startswith("Input rank keeps 28% of a sum's energy, which costs: ask")
    assert {s.subject for s in sentences} == {"together", "factors", "start"}


def test_adapters_of_one_A_may_be_merged_apart(tmp_path: Path) -> None:
    sentences = said(tmp_path, [of_one_A(t) for t in range(3)])
    ((level, text),) = about(sentences, "factors")
    assert level == "good"
    assert "A's began as one" in text
    assert "3 times too large" in text
    assert "ocap" in about(sentences, "start")[0][1]
    assert about(sentences, "start")[1][1].endswith("keeps 100% of a sum's energy and may do.")
    several = [
        Factors(f.A + 0.3 * orthogonal(5 + t).A, f.B) for t, f in enumerate(map(of_one_A, range(3)))
    ]
    sentences = said(tmp_path / "near", several)
    assert "if it must be, -m do-merging --scale norm-matched." in about(sentences, "start")[1][1]


def test_one_A_in_other_coordinates(tmp_path: Path) -> None:
    rotated = []
    for t in range(3):
        c, z = math.cos(1.4 * t), math.sin(1.4 * t)
        G = torch.tensor([[c, -z], [z, c]], dtype=torch.float64)
        rotated.append(Factors(G @ of_one_A(t).A, of_one_A(t).B @ G.T))
    ((_, text),) = about(said(tmp_path, rotated), "factors")
    assert "one row space in different coordinates" in text


def test_drifted_A(tmp_path: Path) -> None:
    near = [
        Factors(f.A + 2 * orthogonal(5 + t).A, f.B) for t, f in enumerate(map(of_one_A, range(3)))
    ]
    ((level, text),) = about(said(tmp_path, near), "factors")
    assert (level, "Prefer methods on the updates" in text) == ("note", True)


def test_adapters_that_fight_and_twins(tmp_path: Path) -> None:
    one = orthogonal(0)
    against = Factors(-0.5 * one.A, one.B)
    sentences = about(said(tmp_path / "x", [one, against, orthogonal(1)]), "together")
    assert [level for level, _ in sentences] == ["bad"]
    assert sentences[0][1].startswith("0 and 1 fight")
    sentences = about(said(tmp_path / "y", [one, orthogonal(1), turned(one, 3)]), "together")
    assert [level for level, _ in sentences] == ["note"]
    assert sentences[0][1].startswith("0 and 2 are much the same")


def test_uneven_norms(tmp_path: Path) -> None:
    sentences = said(tmp_path / "x", [orthogonal(0), orthogonal(1, (6.0, 4.2))])
    ((_, text),) = about(sentences, "sizes")
    assert text.startswith("1 is 2.0 times as large as 0")
    assert not about(said(tmp_path / "y", [orthogonal(0), orthogonal(1, (5.0, 4.0))]), "sizes")


def test_zero_updates(tmp_path: Path) -> None:
    zero = planted(U[:, :2], [0.0, 0.0], V[:, :2])
    sentences = said(tmp_path, [orthogonal(0), zero], {"out": zero})
    assert [s.level for s in sentences if s.subject == "together"] == ["bad"]
    assert about(sentences, "out") == [("bad", "There is nothing in it.")]


def test_scales_of_merges(tmp_path: Path) -> None:
    updates = [orthogonal(t) for t in range(4)]
    merges = {f"x{scale}": summed(updates, scale) for scale in (1.0, 0.5, 0.25)}
    sentences = said(tmp_path, updates, merges)
    ((_, text),) = about(sentences, "x1.0")
    assert "too large" in text
    assert "scales of 0.35 to 1." in text
    assert about(sentences, "x0.5") == []
    ((_, text),) = about(sentences, "x0.25")
    assert "too small" in text
    assert "scales of 1.4 to 4.4." in text


def test_a_merge_that_takes_its_adapters_away(tmp_path: Path) -> None:
    updates = [orthogonal(t) for t in range(4)]
    ((level, text),) = about(said(tmp_path, updates, {"away": summed(updates, -0.5)}), "away")
    assert (level, text) == ("bad", "It runs against its adapters: it has -0.5 of each.")


def test_merges_with_strangers_and_without_an_adapter(tmp_path: Path) -> None:
    updates = [orthogonal(t) for t in range(4)]
    half = [f.scaled(0.5) for f in updates]
    noisy = summed([*half, planted(U[:, 20:21], [8.0], V[:, 20:21])])
    sentences = said(tmp_path, updates, {"noisy": noisy, "three": summed(half[:3], 1.2)})
    assert about(sentences, "noisy") == [
        ("note", "83% of its energy is in no adapter's directions.")
    ]
    assert about(sentences, "three") == [("bad", "Left out: 3.")]


def test_merges_are_ordered_by_their_answers(tmp_path: Path) -> None:
    updates = [of_one_A(t) for t in range(3)]
    wrong = planted(U[:, 20:21], [3.0], V[:, :1])
    sentences = said(tmp_path / "two", updates, {"sum": summed(updates), "wrong": wrong})
    ((_, text),) = about(sentences, "merges")
    assert text.endswith("try first: sum.")
    alike = planted(torch.cat([U[:, 20:21], U[:, :1]], 1), [3.0, 1.0], V[:, :2])
    one_rank = said(tmp_path / "alike", updates, {"sum": summed(updates), "alike": alike})
    assert not about(one_rank, "merges")
    assert not about(said(tmp_path / "one", updates, {"sum": summed(updates)}), "merges")


def test_one_adapter_has_no_verdict_of_its_own(tmp_path: Path) -> None:
    assert said(tmp_path, [orthogonal(0)]) == []
