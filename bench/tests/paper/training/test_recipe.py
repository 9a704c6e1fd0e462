"""The recipe's arithmetic: order, steps, and portions."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from robustmerge.errors import MergeError
from robustmerge_bench.paper.training.device import DeviceConfig
from robustmerge_bench.paper.training.recipe import TrainingRecipe


def test_the_defaults_are_the_papers() -> None:
    recipe = TrainingRecipe()
    assert (recipe.rank, recipe.alpha, recipe.dropout, recipe.epochs) == (16, 32, 0.05, 1)
    assert (recipe.learning_rate, recipe.projector_rate, recipe.warmup) == (2e-4, 2e-5, 0.03)
    assert (recipe.projector, recipe.init, recipe.batch) == ("trained", "shared", 128)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.integers(1, 3),
    st.none() | st.integers(1, 20),
    st.integers(0, 5),
)
def test_every_epoch_sees_every_chosen_conversation_once(
    counts: list[int], epochs: int, limit: int | None, seed: int
) -> None:
    recipe = TrainingRecipe(epochs=epochs, limit=limit, seed=seed)
    rows = recipe.rows(counts)
    taken = [min(n, limit or n) for n in counts]
    size = sum(taken)
    assert len(rows) == epochs * size
    parts = [rows[n * size : (n + 1) * size] for n in range(epochs)]
    assert all(Counter(part) == Counter(parts[0]) for part in parts)
    assert len(set(parts[0])) == size
    edges = [sum(counts[:n]) for n in range(len(counts) + 1)]
    for n, (low, high) in enumerate(pairwise(edges)):
        assert sum(low <= row < high for row in parts[0]) == taken[n]
    assert recipe.rows(counts) == rows


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    one, other = TrainingRecipe(epochs=2).rows([40]), TrainingRecipe(epochs=2, seed=1).rows([40])
    assert one[:40] != other[:40]
    assert one[:40] != one[40:]
    assert sorted(TrainingRecipe(limit=5).rows([40])) != sorted(
        TrainingRecipe(limit=5, seed=1).rows([40])
    )


def test_files_without_a_conversation_give_no_rows() -> None:
    assert TrainingRecipe(epochs=2).rows([0, 0]) == []
    assert sorted(TrainingRecipe().rows([0, 3])) == [0, 1, 2]


def test_tasks_are_mixed() -> None:
    rows = TrainingRecipe().rows([50, 50])
    assert 10 < sum(row < 50 for row in rows[:50]) < 40


def test_steps_count_the_last_short_one() -> None:
    recipe = TrainingRecipe(batch=8, warmup=0.1)
    assert [recipe.count_steps(n) for n in (1, 8, 9, 800)] == [1, 1, 2, 100]
    assert recipe.count_warmup_steps(800) == 10
    assert recipe.count_warmup_steps(9) == 1


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"rank": 0}, "--rank"),
        ({"batch": 0}, "--batch"),
        ({"epochs": 0}, "--epochs"),
        ({"limit": 0}, "--limit"),
        ({"max_length": 0}, "--max-length"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"learning_rate": math.nan}, "--learning-rate"),
        ({"projector_rate": -1.0}, "--projector-rate"),
        ({"projector_rate": math.inf}, "--projector-rate"),
        ({"dropout": 1.0}, "--dropout"),
        ({"warmup": -0.1}, "--warmup"),
        ({"seed": -1}, "--seed"),
        ({"seed": 2**32}, "--seed"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, Any], option: str) -> None:
    with pytest.raises(MergeError, match=option):
        TrainingRecipe(**settings)


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"device_batch": 0}, "--device-batch"),
        ({"workers": -1}, "--workers"),
        ({"save_every": 0}, "--save-every"),
    ],
)
def test_a_device_is_checked_too(settings: dict[str, Any], option: str) -> None:
    with pytest.raises(MergeError, match=option):
        DeviceConfig(**settings)


@pytest.mark.parametrize(
    ("batch", "processes", "device_batch", "portion"),
    [
        (128, 1, None, 16),
        (128, 8, None, 16),
        (128, 32, None, 4),
        (20, 1, None, 10),
        (17, 1, None, 1),
        (3, 1, None, 3),
        (128, 4, 8, 8),
    ],
)
def test_a_batch_is_divided(
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    processes: int,
    device_batch: int | None,
    portion: int,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    assert DeviceConfig(device_batch=device_batch).portion(batch) == portion


def test_what_cannot_be_divided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MergeError, match="a device batch of 5 does not divide the 128") as caught:
        DeviceConfig(device_batch=5).portion(128)
    assert caught.value.where == "--device-batch"
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(MergeError, match="cannot be divided among 3") as caught:
        DeviceConfig().portion(128)
    assert caught.value.hint == "--batch 129"


def test_the_main_process_and_sharding_are_reported_by_the_launcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert DeviceConfig().is_main
    assert not DeviceConfig().sharded
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert not DeviceConfig().is_main
    assert DeviceConfig().sharded
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    assert DeviceConfig().sharded
