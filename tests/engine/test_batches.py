"""Experts are merged together as far as memory allows, in factors and in core space."""

from __future__ import annotations

import pytest

from robustmerge.adapter.keys import Part
from robustmerge.depth import Depth
from robustmerge.engine import job
from robustmerge.engine.job import ModuleJob, batches


def module(name: str, shape: tuple[int, int], ranks: tuple[int, ...]) -> ModuleJob:
    return ModuleJob(name, name, Part.A, shape, ranks, (1.0,) * len(ranks), 1.0, Depth(0, 1), {})


def experts(shape: tuple[int, int], ranks: tuple[int, ...], layers: int = 1) -> list[ModuleJob]:
    return [
        module(f"model.layers.{layer}.mlp.experts.{number}.down_proj", shape, ranks)
        for layer in range(layers)
        for number in range(64)
    ]


@pytest.mark.parametrize(
    ("shape", "ranks"),
    [((2048, 768), (16,) * 4), ((2048, 768), (64,) * 8), ((64, 32), (64,) * 8), ((8, 8), (1, 1))],
)
def test_a_batch_fits_the_bound(shape: tuple[int, int], ranks: tuple[int, ...]) -> None:
    R, T = sum(ranks), len(ranks)
    factors, cores = 4 * R * sum(shape), 4 * 8 * T * R**2
    made = batches(experts(shape, ranks))
    fit = max(1, (16 << 20) // (factors + cores))
    assert [len(batch.jobs) for batch in made[:-1]] == [min(fit, 64)] * (len(made) - 1)
    assert sum(len(batch.jobs) for batch in made) == 64


def test_cores_count_where_they_are_larger_than_the_factors() -> None:
    """Eight adapters of rank 64: an update's cores are 64 MiB, its factors 0.2 MiB."""
    assert [len(batch.jobs) for batch in batches(experts((64, 32), (64,) * 8))] == [1] * 64


def test_only_experts_of_one_layer_are_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_TOGETHER", 1 << 40)
    plain = [module(f"model.layers.{n}.self_attn.q_proj", (64, 64), (4, 4)) for n in range(3)]
    made = batches([*plain, *experts((8, 8), (1, 1), layers=2)])
    assert [len(batch.jobs) for batch in made] == [1, 1, 1, 64, 64]
