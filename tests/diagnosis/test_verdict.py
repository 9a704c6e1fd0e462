"""Verdicts on planted adapters and merges: each sentence where its figures require it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import robustmerge
from factories.planted_updates import change_coordinates, orthonormal, planted
from robustmerge.diagnosis.verdict import Sentence, make_verdict
from robustmerge.diagnosis.verdict_texts import INITIALIZATIONS
from robustmerge.factors import Factors

NAME = "model.language_model.layers.0.self_attn.q_proj"
U, V = orthonormal(60, 24, 1), orthonormal(50, 24, 2)


def orthogonal(t: int, S: Sequence[float] = (3.0, 2.0)) -> Factors:
    """Return one of several orthogonal adapters."""
    columns = slice(2 * t, 2 * t + 2)
    return planted(U[:, columns], S, V[:, columns])


def with_shared_A(t: int) -> Factors:
    """Return one of several adapters with the same A and equal norms."""
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


def sentences(
    tmp_path: Path, updates: Sequence[Factors], merges: Mapping[str, Factors] | None = None
) -> list[Sentence]:
    sources = [write(tmp_path / f"{t}", f) for t, f in enumerate(updates)]
    merged = [write(tmp_path / name, f) for name, f in (merges or {}).items()]
    return list(make_verdict(robustmerge.diagnose(sources, merged)))


def codes(verdict: Sequence[Sentence], subject: str) -> list[str]:
    return [s.code for s in verdict if s.subject == subject]


def sentence_about(verdict: Sequence[Sentence], subject: str) -> Sentence:
    (sentence,) = (s for s in verdict if s.subject == subject)
    return sentence


def add(updates: Sequence[Factors], scale: float = 1.0) -> Factors:
    return Factors(
        torch.cat([f.A for f in updates]), torch.cat([scale * f.B for f in updates], dim=1)
    )


def test_orthogonal_adapters_with_unrelated_A(tmp_path: Path) -> None:
    verdict = sentences(tmp_path, [orthogonal(t) for t in range(5)])
    assert {s.subject: codes(verdict, s.subject) for s in verdict} == {
        "together": ["compatible_updates"],
        "factors": ["factor_wise_fails"],
        "start": ["suggested_method", "input_rank_costs"],
    }
    assert [s.level for s in verdict] == ["good", "bad", "note", "note"]
    method, input_rank = (s for s in verdict if s.subject == "start")
    assert "-m drift --rank full" in method.text
    assert method.evidence["rank for 99%"] == 10
    # two of ten directions, with 18 of 65
    assert input_rank.evidence["energy at input rank"] == pytest.approx(18 / 65)


def test_adapters_with_one_A_can_be_merged_factor_wise(tmp_path: Path) -> None:
    verdict = sentences(tmp_path, [with_shared_A(t) for t in range(3)])
    factors = sentence_about(verdict, "factors")
    assert (factors.code, factors.level) == ("factor_wise_works", "good")
    assert INITIALIZATIONS["shared"] in factors.text
    assert "3 times too large" in factors.text
    assert codes(verdict, "start") == ["suggested_method", "input_rank_suffices"]
    assert "-m drift --rank full" in next(s.text for s in verdict if s.subject == "start")
    near = [Factors(f.A + 0.3 * orthogonal(5 + t).A, f.B) for t, f in shared_start()]
    verdict = sentences(tmp_path / "near", near)
    assert codes(verdict, "start") == ["suggested_method", "input_rank_costs"]


def shared_start() -> list[tuple[int, Factors]]:
    return [(t, with_shared_A(t)) for t in range(3)]


def test_one_A_in_other_coordinates(tmp_path: Path) -> None:
    rotated = []
    for t, f in shared_start():
        c, z = math.cos(1.4 * t), math.sin(1.4 * t)
        G = torch.tensor([[c, -z], [z, c]], dtype=torch.float64)
        rotated.append(Factors(G @ f.A, f.B @ G.T))
    assert (
        INITIALIZATIONS["rotated"] in sentence_about(sentences(tmp_path, rotated), "factors").text
    )


def test_A_after_drift(tmp_path: Path) -> None:
    near = [Factors(f.A + 2 * orthogonal(5 + t).A, f.B) for t, f in shared_start()]
    factors = sentence_about(sentences(tmp_path, near), "factors")
    assert (factors.code, factors.level) == ("factor_wise_risky", "note")


def test_opposing_and_duplicate_adapters(tmp_path: Path) -> None:
    first = orthogonal(0)
    opposite = Factors(-0.5 * first.A, first.B)
    together = sentence_about(
        sentences(tmp_path / "x", [first, opposite, orthogonal(1)]), "together"
    )
    assert (together.code, together.level) == ("opposing_updates", "bad")
    assert together.text.startswith("0 and 1 ")
    assert together.evidence["least cosine"] == pytest.approx(-1)
    copies = [first, orthogonal(1), change_coordinates(first, 3)]
    together = sentence_about(sentences(tmp_path / "y", copies), "together")
    assert (together.code, together.level) == ("duplicate_updates", "note")
    assert together.text.startswith("0 and 2 ")
    assert together.evidence["greatest cosine"] == pytest.approx(1)


def test_uneven_norms(tmp_path: Path) -> None:
    sizes = sentence_about(
        sentences(tmp_path / "x", [orthogonal(0), orthogonal(1, (6.0, 4.2))]), "sizes"
    )
    assert sizes.code == "uneven_norms"
    assert sizes.text.startswith("1 is 2.0 times as large as 0 ")
    even = sentences(tmp_path / "y", [orthogonal(0), orthogonal(1, (5.0, 4.0))])
    assert not codes(even, "sizes")


def test_zero_updates(tmp_path: Path) -> None:
    zero = planted(U[:, :2], [0.0, 0.0], V[:, :2])
    verdict = sentences(tmp_path, [orthogonal(0), zero], {"out": zero})
    assert codes(verdict, "together") == ["at_most_one_update"]
    assert codes(verdict, "out") == ["zero_merge"]
    assert (
        sentence_about(verdict, "together").level == sentence_about(verdict, "out").level == "bad"
    )


def test_scales_of_merges(tmp_path: Path) -> None:
    updates = [orthogonal(t) for t in range(4)]
    merges = {f"x{scale}": add(updates, scale) for scale in (1.0, 0.5, 0.25)}
    verdict = sentences(tmp_path, updates, merges)
    assert codes(verdict, "x1.0") == ["too_large"]
    assert "by 0.35 to 1." in sentence_about(verdict, "x1.0").text
    assert codes(verdict, "x0.5") == []
    assert codes(verdict, "x0.25") == ["too_small"]
    assert "by 1.4 to 4.4." in sentence_about(verdict, "x0.25").text


def test_a_merge_that_subtracts_its_adapters(tmp_path: Path) -> None:
    updates = [orthogonal(t) for t in range(4)]
    sentence = sentence_about(sentences(tmp_path, updates, {"out": add(updates, -0.5)}), "out")
    assert (sentence.code, sentence.level) == ("anti_correlated", "bad")
    assert sentence.evidence["mean coefficient"] == pytest.approx(-0.5)


def test_merges_with_unattributed_energy_and_without_an_adapter(tmp_path: Path) -> None:
    updates = [orthogonal(t) for t in range(4)]
    half = [f.scaled(0.5) for f in updates]
    noisy = add([*half, planted(U[:, 20:21], [8.0], V[:, 20:21])])
    verdict = sentences(tmp_path, updates, {"noisy": noisy, "three": add(half[:3], 1.2)})
    sentence = sentence_about(verdict, "noisy")
    assert (sentence.code, sentence.level) == ("unattributed_energy", "note")
    assert sentence.text.startswith("83% ")
    sentence = sentence_about(verdict, "three")
    assert (sentence.code, sentence.level) == ("adapters_left_out", "bad")
    assert list(sentence.evidence) == ["3"]


def test_merges_are_ordered_by_their_answers(tmp_path: Path) -> None:
    updates = [with_shared_A(t) for t in range(3)]
    wrong = planted(U[:, 20:21], [3.0], V[:, :1])
    verdict = sentences(tmp_path / "two", updates, {"sum": add(updates), "wrong": wrong})
    sentence = sentence_about(verdict, "merges")
    assert sentence.code == "try_first"
    assert sentence.text.endswith("try first: sum.")
    alike = planted(torch.cat([U[:, 20:21], U[:, :1]], 1), [3.0, 1.0], V[:, :2])
    one_rank = sentences(tmp_path / "alike", updates, {"sum": add(updates), "alike": alike})
    assert not codes(one_rank, "merges")
    assert not codes(sentences(tmp_path / "one", updates, {"sum": add(updates)}), "merges")


def test_a_single_adapter_has_no_verdict(tmp_path: Path) -> None:
    assert sentences(tmp_path, [orthogonal(0)]) == []
