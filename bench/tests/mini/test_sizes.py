"""Relative sizes of updates, against the dense definition."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from bench_factories.scripted_world import trained
from factories.adapters import deltas
from robustmerge.errors import MergeError
from robustmerge_bench.mini.ranking.gates import relative_size


def test_the_median_over_modules(tmp_path: Path) -> None:
    root = trained(tmp_path)
    expert = root / "experts" / "shared-0" / "viz"
    weights = load_file(root / "base" / "model.safetensors")
    ratios = [
        float(delta.norm() / weights[f"{name}.weight"].double().norm())
        for name, delta in deltas(expert).items()
    ]
    assert max(ratios) > 1.1 * statistics.median(ratios) > 1.2 * min(ratios)
    assert relative_size(expert, root / "base") == pytest.approx(statistics.median(ratios))


def test_a_module_that_the_base_lacks(tmp_path: Path) -> None:
    root = trained(tmp_path)
    path = root / "base" / "model.safetensors"
    weights = load_file(path)
    del weights["model.language_model.layers.1.mlp.down_proj.weight"]
    save_file(weights, path)
    with pytest.raises(MergeError, match="no weight for a module"):
        relative_size(root / "experts" / "shared-0" / "viz", root / "base")
