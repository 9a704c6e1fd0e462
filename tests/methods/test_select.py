"""Order statistics of vectors in blocks, against sorting."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from robustmerge.methods._bracket import entries_in_memory
from robustmerge.methods.entrywise._select import Vectors, select

TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INF = float("inf")


def blocks(vectors: list[Tensor], n: int) -> Vectors:
    def passes() -> Iterator[list[Tensor]]:
        yield from map(list, zip(*(v.tensor_split(n) for v in vectors), strict=True))

    return Vectors(passes)


def numbers(seed: int, length: int, dtype: torch.dtype) -> Tensor:
    """Numbers of many sizes and both signs, with repetitions and both zeros."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(length, generator=g, dtype=torch.float64)
    x = x * 10.0 ** torch.randint(-4, 4, (length,), generator=g)
    if seed % 3 == 0:
        x = x.abs()
    x[::5] = x[: len(x[::5])].clone()
    x[::7], x[1::7] = 0.0, -0.0
    return x.to(dtype)


@given(
    dtype=st.sampled_from(TYPES),
    length=st.integers(1, 500),
    n=st.integers(1, 5),
    seed=st.integers(0, 999),
)
def test_what_is_selected_is_what_sorting_finds(
    dtype: torch.dtype, length: int, n: int, seed: int
) -> None:
    vectors = [numbers(seed, length, dtype), numbers(seed + 1, 2 * length, dtype)]

    def positions(n: int) -> tuple[int, ...]:
        return 0, n // 3, n - 1

    result = select(blocks(vectors, n), positions)
    expected = [v.sort().values[list(positions(len(v)))] for v in vectors]
    assert result.dtype == dtype
    assert torch.equal(result, torch.stack(expected))


def sampled(vectors: list[Tensor], sample: list[Tensor]) -> Vectors:
    return Vectors(blocks(vectors, 3).passes, lambda: sample, len(vectors[0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(4))
def test_a_sample_spares_passes_and_changes_nothing(dtype: torch.dtype, seed: int) -> None:
    vectors = [numbers(seed, 20_000, dtype), numbers(seed + 7, 20_000, dtype)]
    passes = 0

    def positions(n: int) -> tuple[int, ...]:
        return 0, 2, n // 5, n // 2, n - 1

    def counted() -> Iterator[list[Tensor]]:
        nonlocal passes
        passes += 1
        yield from blocks(vectors, 3)()

    expected = torch.stack([v.sort().values[list(positions(len(v)))] for v in vectors])
    draw = torch.randint(20_000, (1000,), generator=torch.Generator().manual_seed(seed))
    sample = [v[draw] for v in vectors]
    assert torch.equal(select(Vectors(counted, lambda: sample, 20_000), positions), expected)
    assert passes == 2  # the first looks at two blocks


@pytest.mark.parametrize("value", [-1e9, 0.0, 1e9])
def test_a_sample_that_misleads_costs_passes_only(value: float) -> None:
    vectors = [numbers(1, 5000, torch.float32)]
    result = select(sampled(vectors, [torch.full((300,), value)]), lambda n: (n // 5, n // 3))
    assert torch.equal(result[0], vectors[0].sort().values[[1000, 1666]])


@pytest.mark.parametrize("n", [1, 3])
def test_past_the_end_is_infinity(n: int) -> None:
    vectors = [torch.tensor([3.0, 1.0, 2.0]), torch.empty(0)]
    result = select(blocks(vectors, n), lambda n: (1, n))
    assert result.tolist() == [[2.0, INF], [INF, INF]]


def test_the_order_of_blocks_does_not_matter() -> None:
    pieces = list(numbers(1, 1000, torch.float32).split(37))
    expected = select(Vectors(lambda: iter([[p] for p in pieces])), lambda n: (n // 2,))
    random.Random(0).shuffle(pieces)
    assert torch.equal(
        select(Vectors(lambda: iter([[p] for p in pieces])), lambda n: (n // 2,)), expected
    )


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("signed", [True, False])
def test_vectors_are_left_alone(n: int, signed: bool) -> None:
    x = numbers(1, 100, torch.float32)
    x = x if signed else x.abs()
    before = x.clone()
    select(blocks([x], n), lambda n: (n // 2,))
    assert torch.equal(x, before)


def test_blocks_of_a_wider_type_are_taken_as_the_first() -> None:
    x = [torch.tensor([1.0, 5.0]), torch.tensor([4.0, 3.0], dtype=torch.float64)]
    assert select(Vectors(lambda: iter([[p] for p in x])), lambda n: (2,)).tolist() == [[4.0]]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("seed", range(3))
def test_in_memory_a_sample_spares_a_partition_and_changes_nothing(
    dtype: torch.dtype, seed: int
) -> None:
    x = numbers(seed, 40_000, dtype)
    positions = [0, 3, 8_000, 20_000, 39_998, 39_999]
    expected = x.sort().values[positions].tolist()
    assert entries_in_memory(x, positions) == expected
    assert torch.equal(x, numbers(seed, 40_000, dtype))


@pytest.mark.parametrize("largest", [True, False])
def test_in_memory_a_sample_may_mislead(largest: bool) -> None:
    """Every entry of the sample is 0, and half of the others are on either side of it."""
    x = numbers(1, 40_000, torch.float32) + 1e-9
    x[::49] = 0
    position = 39_000 if largest else 1_000
    assert entries_in_memory(x, [position]) == [x.sort().values[position].item()]


def test_in_memory_what_is_no_number_is_above_all() -> None:
    x = numbers(2, 40_000, torch.float32)
    x[::100] = float("nan")
    expected = x.nan_to_num(INF).sort().values[20_000].item()
    assert entries_in_memory(x, [20_000]) == [expected]
