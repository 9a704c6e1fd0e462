"""Options that name nothing, are no numbers, or ask for what cannot be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from factories.adapters import adapter, trio
from faults.refuse import command, merge, refused, refused_merge, tree


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1, 1]}, "2 weights for 3 adapters"),
        ({"weights": [1, 1, float("nan")]}, "weights = nan is not a finite number"),
        ({"weights": [1, 1, float("inf")]}, "weights = inf is not a finite number"),
        ({"scale": float("nan")}, "scale = nan is not a finite number"),
        ({"scale": 1e300}, "scale = 1e+300 is not a finite number"),
        ({"method": "robust-merge"}, "did you mean robustmerge?"),
        ({"method": "xyzzy"}, "known: ace, act"),
        ({"parameters": {"rigde": 0.3}}, "did you mean ridge?"),
        ({"parameters": {"prune": False}}, "it is a parameter of robustmerge-ablation"),
        ({"parameters": {"ridge": "0"}}, "ridge = '0' is not possible"),
        ({"parameters": {"ridge": "much"}}, "ridge = 'much' is not possible"),
        ({"parameters": {"ridge": "nan"}}, "ridge = 'nan' is not possible"),
        (
            {"method": "robustmerge-ablation", "parameters": {"scale_from": "inner"}},
            "did you mean inter?",
        ),
        (
            {"method": "robustmerge-ablation", "parameters": {"prune": "maybe"}},
            "prune = 'maybe' is not possible",
        ),
        ({"method": "average", "parameters": {"density": 0.3}}, "of method 'average' 'density'"),
        ({"rank": "0"}, "rank = '0' is not possible"),
        ({"rank": "1.5"}, "rank = '1.5' is not possible"),
        ({"rank": "energy:nan"}, "rank = 'energy:nan' is not possible"),
        ({"base": "nowhere/at/all"}, "not a Hub id"),
    ],
    ids=str,
)
def test_impossible_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    sources = trio(tmp_path, extras={"lm_head.weight": torch.ones(3, 2)})
    refused_merge(tmp_path, sources, message, **options)


@pytest.mark.parametrize(
    ("name", "word", "near"),
    [
        ("layout", "hfold", "hf-old"),
        ("dtype", "floatl6", "float16"),
        ("missing", "drops", "drop"),
        ("extras", "means", "mean"),
        ("extras_in", "besides", "beside"),
    ],
)
def test_the_nearest_word_is_suggested(tmp_path: Path, name: str, word: str, near: str) -> None:
    sources = trio(tmp_path)
    before = tree(tmp_path)
    refused(lambda: merge(sources, tmp_path / "out", **{name: word}), word, f"did you mean {near}?")
    flag = f"--{name.replace('_', '-')}={word}"
    code, errors = command("merge", *sources, "-o", tmp_path / "out", flag)
    shown = " ".join(errors.replace("│", " ").split())
    assert (code, f'Did you mean "{near}"?' in shown) == (2, True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("device", ["tpu", "meta", "cuda:99", "cuda:x", "cpu:1", ""])
def test_devices_that_are_not_there(tmp_path: Path, device: str) -> None:
    sources = trio(tmp_path)
    before = tree(tmp_path)
    code, errors = command("merge", *sources, "-o", tmp_path / "out", f"--device={device}")
    assert code == 1
    assert f"no device {device!r}" in errors
    assert tree(tmp_path) == before


@pytest.mark.parametrize("workers", [0, -1])
def test_nobody_cannot_work(tmp_path: Path, workers: int) -> None:
    sources = trio(tmp_path)
    before = tree(tmp_path)
    refused(lambda: merge(sources, tmp_path / "out", workers=workers), f"{workers} workers")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("extras", [{}, {"lm_head.weight": torch.ones(3, 2)}])
def test_weights_that_sum_to_zero_have_no_mean(tmp_path: Path, extras: Any) -> None:
    sources = [adapter(tmp_path / n, seed=i, extras=extras) for i, n in enumerate("ab")]
    options: dict[str, Any] = {"weights": [1.0, -1.0], "method": "average"}
    refused_merge(tmp_path, sources, "weights [1.0, -1.0] sum to zero", **options)
    options["method"] = "task-arithmetic"
    if extras:
        refused_merge(tmp_path, sources, "so lm_head.weight has no weighted mean", **options)
    else:
        assert merge(sources, tmp_path / "out", **options).rank == 4


def test_values_that_a_type_cannot_hold(tmp_path: Path) -> None:
    sources = trio(tmp_path, dtype=torch.float16)
    error = refused_merge(tmp_path, sources, "which F16 cannot hold", "--dtype", scale=1e12)
    assert error.where == "model.language_model.layers.0.mlp.down_proj"
    merge(sources, tmp_path / "out", scale=1e12, dtype="float32")
    written = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert all(tensor.isfinite().all() for tensor in written.values())


@pytest.mark.parametrize("layout", ["hf", "llava"])
def test_extras_that_a_type_cannot_hold(tmp_path: Path, layout: str) -> None:
    large = {"model.multi_modal_projector.linear_1.weight": torch.full((3, 2), 60_000.0).half()}
    sources = [adapter(tmp_path / n, dtype=torch.float16, extras=large) for n in "ab"]
    base = tmp_path / "base"
    base.mkdir()
    save_file({name: torch.zeros(3, 2) for name in large}, base / "model.safetensors")
    options = {"extras": "sum", "base": str(base), "layout": layout}
    error = refused_merge(tmp_path, sources, "reach 1.2e+05, which F16 cannot hold", **options)
    assert "linear_1" in error.where or "mm_projector.0" in error.where
