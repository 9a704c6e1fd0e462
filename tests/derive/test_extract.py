"""A LoRA out of a full fine-tune: round trips, merges, what is passed on and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

import robustmerge
from factories.adapters import LLM, adapter, deltas
from factories.bases import adapt, llama, text_only
from factories.checkpoints import base, weights
from factories.families import attach, build, logits, save_adapter
from robustmerge.cli.app import run
from robustmerge.errors import MergeError
from robustmerge.export import export_adapter

Capture = pytest.CaptureFixture[str]
Q = "model.language_model.layers.0.self_attn.q_proj"
NORM = "model.language_model.norm.weight"
EMBEDDINGS = "model.language_model.embed_tokens.weight"


def tuned(root: Path, changes: Mapping[str, Tensor], **options: Any) -> tuple[Path, Path]:
    """Write a base, and the same with other tensors; return the second, and the first."""
    start = weights(head=options.pop("head", True))
    return base(root / "tuned", start | dict(changes), **options), base(root / "base", start)


def random(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_known_adapter_comes_back(tmp_path: Path) -> None:
    source, model = adapter(tmp_path / "lora", rank=3, alpha=6), base(tmp_path / "base")
    export_adapter(source, tmp_path / "full", format="full", base=str(model))
    report = robustmerge.extract(tmp_path / "full", tmp_path / "out", base=model, rank=3)
    assert (report.rank, len(report.modules), report.extras) == (3, len(LLM), ())
    got = deltas(tmp_path / "out")
    for name, delta in deltas(source).items():
        assert (got[name] - delta).norm() < 1e-5 * delta.norm()
    for line in report.modules:
        assert line.energy == pytest.approx(1, abs=1e-9)
        assert line.norm == pytest.approx(float(got[line.name].norm()), rel=1e-5)
        size = float(weights()[f"{line.name}.weight"].norm())
        assert line.relative == pytest.approx(line.norm / size, rel=1e-5)


@pytest.mark.parametrize("rank", [2, "energy:0.8"])
def test_what_is_kept_is_the_best_approximation(tmp_path: Path, rank: int | str) -> None:
    changes = {f"{n}.weight": weights()[f"{n}.weight"] + random(*s) for n, s in LLM.items()}
    report = robustmerge.extract(*_paths(tmp_path, changes), rank=rank)
    got, lines = deltas(tmp_path / "out"), {m.name: m for m in report.modules}
    for name, tensor in changes.items():
        module = name.removesuffix(".weight")
        delta = (tensor - weights()[name]).double()
        U, S, Vh = torch.linalg.svd(delta, full_matrices=False)
        k, held = lines[module].rank, S.square().cumsum(0) / S.square().sum()
        assert k == (rank if isinstance(rank, int) else int((held < 0.8).sum()) + 1)
        torch.testing.assert_close(got[module], U[:, :k] * S[:k] @ Vh[:k], atol=1e-5, rtol=1e-5)
        assert lines[module].energy == pytest.approx(float(held[k - 1]), abs=1e-6)
    assert report.rank == max(m.rank for m in report.modules)


def _paths(root: Path, changes: Mapping[str, Tensor], **options: Any) -> Any:
    """The arguments of an extraction, without the base, which is where `extract` looks for it."""
    after, _ = tuned(root, changes, **options)
    return after, root / "out"


@pytest.fixture(autouse=True)
def known_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = robustmerge.extract

    def extract(*arguments: Any, **options: Any) -> Any:
        return real(*arguments, **{"base": tmp_path / "base"} | options)

    monkeypatch.setattr(robustmerge, "extract", extract)


def test_a_model_with_the_extract_computes_what_the_fine_tune_computes(tmp_path: Path) -> None:
    save_adapter("llava", tmp_path / "lora", seed=2, modules_to_save=["multi_modal_projector"])
    build("llava").save_pretrained(tmp_path / "base")
    export_adapter(
        tmp_path / "lora", tmp_path / "tuned", format="full", base=str(tmp_path / "base")
    )
    report = robustmerge.extract(tmp_path / "tuned", tmp_path / "out", rank=4)
    assert all("multi_modal_projector" in name for name in report.extras)
    assert len(report.extras) == 4
    before, after = (
        logits("llava", attach(build("llava"), tmp_path / folder)) for folder in ("lora", "out")
    )
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_the_result_takes_part_in_a_merge(tmp_path: Path) -> None:
    change = {f"{Q}.weight": weights()[f"{Q}.weight"] + random(24, 2) @ random(2, 16, seed=4)}
    robustmerge.extract(*_paths(tmp_path, change), rank=2)
    other = adapter(tmp_path / "lora", rank=3, modules={Q: LLM[Q]})
    robustmerge.merge(
        [tmp_path / "out", other],
        tmp_path / "merged",
        method="task-arithmetic",
        rank="full",
        same_base=True,
    )
    wanted = deltas(tmp_path / "out")[Q] + deltas(other)[Q]
    torch.testing.assert_close(deltas(tmp_path / "merged")[Q], wanted, atol=1e-5, rtol=1e-5)


def test_two_fine_tunes_become_one_model(tmp_path: Path) -> None:
    start = weights()
    model = base(tmp_path / "base", start)
    low_rank = {
        who: {
            f"{name}.weight": 0.3 * random(d_out, 2, seed=seed + n) @ random(2, d_in, seed=seed - n)
            for n, (name, (d_out, d_in)) in enumerate(LLM.items(), 1)
        }
        for who, seed in (("a", 100), ("b", 200))
    }
    for who, norm in (("a", 0.5), ("b", -0.1)):
        moved = {name: start[name] + delta for name, delta in low_rank[who].items()}
        base(tmp_path / f"tuned-{who}", start | moved | {NORM: start[NORM] + norm})
        robustmerge.extract(
            tmp_path / f"tuned-{who}", tmp_path / who, base=model, rank="energy:0.999999"
        )
    robustmerge.merge(
        [tmp_path / "a", tmp_path / "b"],
        tmp_path / "merged",
        method="task-arithmetic",
        weights=[0.75, 0.5],
        rank="full",
    )
    export_adapter(tmp_path / "merged", tmp_path / "model", format="full", base=str(model))
    result = load_file(tmp_path / "model/model.safetensors")
    assert result.keys() == start.keys()
    for name, tensor in start.items():
        want = tensor + 0.75 * low_rank["a"].get(name, 0) + 0.5 * low_rank["b"].get(name, 0)
        if name == NORM:
            want = tensor + (0.75 * 0.5 - 0.5 * 0.1) / 1.25  # the weighted mean
        torch.testing.assert_close(result[name], want, atol=2e-5, rtol=1e-5, check_dtype=False)


def test_norms_embeddings_and_projectors_are_passed_on_in_their_own_type(tmp_path: Path) -> None:
    names = [NORM, EMBEDDINGS, "model.multi_modal_projector.linear_2.bias", "lm_head.weight"]
    changes = {n: (weights()[n] + 1).to(torch.bfloat16) for n in names}
    changes[f"{Q}.weight"] = weights()[f"{Q}.weight"] + 1
    report = robustmerge.extract(*_paths(tmp_path, changes), rank=1)
    assert set(report.extras) == set(names)
    written = load_file(tmp_path / "out" / "adapter_model.safetensors")
    for name in names:
        assert torch.equal(written[f"base_model.model.{name}"], changes[name])
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert {"multi_modal_projector", "lm_head"} <= set(settings["modules_to_save"])


def test_embeddings_that_are_the_head_are_written_for_both(tmp_path: Path) -> None:
    start = weights(head=False)
    changes = {EMBEDDINGS: start[EMBEDDINGS] + 1, f"{Q}.weight": start[f"{Q}.weight"] + 1}
    base(tmp_path / "base", start)
    after = base(tmp_path / "tuned", start | changes)
    report = robustmerge.extract(after, tmp_path / "out", rank=1)
    assert report.extras == (EMBEDDINGS, "lm_head.weight")
    export_adapter(tmp_path / "out", tmp_path / "full", format="full", base=str(tmp_path / "base"))
    with safe_open(tmp_path / "full" / "model.safetensors", "pt") as full:
        assert torch.equal(full.get_tensor("lm_head.weight"), changes[EMBEDDINGS])


def test_a_language_model_alone_has_its_own_names(tmp_path: Path) -> None:
    llama(tmp_path / "base")
    live = adapt(text_only(), {"default": {"r": 2, "target_modules": ["q_proj"]}})
    live.merge_and_unload().save_pretrained(tmp_path / "tuned")
    report = robustmerge.extract(tmp_path / "tuned", tmp_path / "out", rank=2)
    assert report.layout == "flat"
    with safe_open(tmp_path / "out" / "adapter_model.safetensors", "pt") as file:
        assert all(name.startswith("base_model.model.model.layers.") for name in file.keys())  # noqa: SIM118 (it has no iterator)


def test_what_no_adapter_holds_goes_next_to_it(tmp_path: Path) -> None:
    start = weights() | {f"{Q}.bias": torch.zeros(24)}
    changes = {f"{Q}.weight": start[f"{Q}.weight"] + 1, f"{Q}.bias": torch.ones(24)}
    base(tmp_path / "base", start)
    after = base(tmp_path / "tuned", start | changes)
    with pytest.raises(MergeError, match="no PEFT adapter can hold it") as caught:
        robustmerge.extract(after, tmp_path / "out", rank=1)
    assert "--extras-in beside" in caught.value.hint
    robustmerge.extract(after, tmp_path / "out", rank=1, extras_in="beside")
    others = load_file(tmp_path / "out" / "non_lora.safetensors")
    assert torch.equal(others[f"{Q}.bias"], torch.ones(24))
    export_adapter(tmp_path / "out", tmp_path / "full", format="full", base=str(tmp_path / "base"))
    full = load_file(tmp_path / "full" / "model.safetensors")
    torch.testing.assert_close(full[f"{Q}.weight"], changes[f"{Q}.weight"])
    assert torch.equal(full[f"{Q}.bias"], torch.ones(24))


def test_modules_without_a_direction_above_noise_are_left_out(tmp_path: Path) -> None:
    shapes = dict.fromkeys(LLM, (60, 50))
    start = {f"{n}.weight": random(60, 50, seed=i) for i, n in enumerate(shapes)}
    changes = {n: t + 0.01 * random(60, 50, seed=90 + i) for i, (n, t) in enumerate(start.items())}
    changes[f"{Q}.weight"] += random(60, 1) @ random(1, 50)
    base(tmp_path / "base", start)
    after = base(tmp_path / "tuned", changes)
    report = robustmerge.extract(after, tmp_path / "out", rank="marchenko-pastur")
    assert [m.name for m in report.modules if m.rank] == [Q]
    assert deltas(tmp_path / "out").keys() == {Q}
    noise = {n: start[n] + 0.01 * random(60, 50, seed=7) for n in start}
    after = base(tmp_path / "noise", noise)
    with pytest.raises(MergeError, match="no direction of any change"):
        robustmerge.extract(after, tmp_path / "none", rank="marchenko-pastur")
    assert not (tmp_path / "none").exists()


POSITIONS = "model.vision_tower.embeddings.position_ids"
WRONG: dict[str, tuple[dict[str, Tensor | None], str]] = {
    "shape": ({f"{Q}.weight": random(24, 17)}, "has two shapes"),
    "vocabulary": ({EMBEDDINGS: random(21, 16)}, "the vocabularies differ: 21 and 20 rows"),
    "new": ({"model.language_model.layers.9.norm.weight": random(3)}, "missing in .*base"),
    "gone": ({NORM: None}, "missing in .*tuned"),
    "integers": ({POSITIONS: torch.zeros(1, 5, dtype=torch.int64)}, "no difference"),
    "same": ({}, "the two models are the same"),
    "norm alone": ({NORM: random(16)}, "no linear layer changed"),
    "infinite": ({f"{Q}.weight": torch.full((24, 16), float("inf"))}, "NaN or infinite"),
    "bare": ({"model.image_newline": random(4), f"{Q}.weight": random(24, 16)}, "bare parameter"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_models_that_do_not_go_together_are_refused(tmp_path: Path, wrong: str) -> None:
    changes, message = WRONG[wrong]
    start = weights() | {"model.image_newline": torch.zeros(4)}
    base(tmp_path / "base", start)
    after = {n: t for n, t in (start | changes).items() if t is not None}
    base(tmp_path / "tuned", after)
    with pytest.raises(MergeError, match=message) as caught:
        robustmerge.extract(tmp_path / "tuned", tmp_path / "out", rank=2)
    assert str(tmp_path / "tuned") in str(caught.value)
    assert caught.value.hint
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "tuned"]


def test_shards_threads_and_types_do_not_matter(tmp_path: Path) -> None:
    changes = {f"{n}.weight": weights()[f"{n}.weight"] + random(*s) for n, s in LLM.items()}
    after, out = _paths(tmp_path, changes, cuts=(3, 7))
    robustmerge.extract(after, out, rank=2, workers=1)
    robustmerge.extract(after, tmp_path / "again", rank=2, workers=3)
    for name in ("adapter_model.safetensors", "adapter_config.json", "extract.json"):
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    robustmerge.extract(after, tmp_path / "half", rank=2, dtype="bfloat16")
    half = deltas(tmp_path / "half")[Q]
    torch.testing.assert_close(half, deltas(out)[Q], atol=0.1, rtol=0.1)


def test_the_command(tmp_path: Path, capsys: Capture) -> None:
    after, out = _paths(tmp_path, {f"{Q}.weight": weights()[f"{Q}.weight"] + 1})
    command = ["extract", str(after), "--base", str(tmp_path / "base"), "-o", str(out)]
    assert run([*command, "--rank", "energy:0.95"]) == 0
    assert "1 of 1 that changed" in capsys.readouterr().out
    assert run([*command, "--rank", "1", "--json", "--force"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["modules"][Q]["rank"] == 1
    assert record["inputs"].keys() == {"tuned", "base"}
    stored = json.loads((out / "extract.json").read_text())
    assert stored == {k: v for k, v in record.items() if k != "output_folder"}
    assert run([*command, "--rank", "half"]) == 1
    assert "gavish-donoho" in capsys.readouterr().err
    assert run(["check", str(out), "--base", str(tmp_path / "base")]) == 0
