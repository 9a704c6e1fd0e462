"""DARE and DARE-TIES: the arithmetic on given masks, and how masks are drawn."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from factories.adapters import factors, rows, stack
from robustmerge import methods
from robustmerge.errors import MergeError
from robustmerge.factors import Dense, Factors, Stack
from robustmerge.methods.entrywise import _entries, dare as module
from robustmerge.methods.entrywise._drop import draw_integers, draw_kept
from robustmerge.methods.entrywise._entries import EntryBlock

NAMES = ("dare", "dare-ties")
SPACES = ("factor", "delta")


def merged(name: str, inputs: Stack, **parameters: Any) -> Factors | Dense:
    method = methods.get(name)
    update = method(inputs, **method.configure(parameters))
    assert isinstance(update, (Factors, Dense))
    return update


def parts(update: Factors | Dense) -> list[Tensor]:
    return [update.delta] if isinstance(update, Dense) else [update.A, update.B]


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Masks to use instead of random ones; fill it with one for every block."""
    masks: list[Tensor] = []

    def mask(inputs: Stack, block: EntryBlock, keep: float, seed: int) -> Tensor:
        return masks[0].expand(block.x.shape).to(block.x, copy=True)

    monkeypatch.setattr(module, "draw_mask", mask)
    return masks


@pytest.mark.parametrize(
    ("flavor", "expected"), [("peft", [2.0, 0, 6, 0]), ("mergekit", [2.5, 0, 7.5, 0])]
)
def test_worked_numbers(masked: list[Tensor], flavor: str, expected: list[float]) -> None:
    masked.append(torch.tensor([1, 0, 1, 0]))
    inputs = rows([1.0, 2.0, 3.0, 4.0])
    update = merged("dare", inputs, space="delta", density=0.5, flavor=flavor)
    assert parts(update)[0][0].tolist() == expected


def test_mergekit_matches_each_adapters_sum_of_magnitudes_over_all_bands(
    masked: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_entries, "_BAND", 2)
    masked.append(torch.tensor([[[1, 0]], [[0, 1]]]))
    A, B = torch.tensor([[1.0, -3.0], [2.0, 5.0]]).double(), torch.eye(2).double()
    inputs = Stack.of([Factors(A, B), Factors(A, 2 * B)], [1.0, 10.0])
    result = parts(merged("dare", inputs, space="delta", flavor="mergekit"))[0]
    # Sums of magnitudes are 11 and 22, of what is kept 3 and 16.
    expected = [[11 / 3, 10 * 22 / 16 * -6], [11 / 3 * 2, 10 * 22 / 16 * 10]]
    torch.testing.assert_close(result, torch.tensor(expected).double())


def test_an_adapter_of_which_nothing_is_left_is_not_scaled(masked: list[Tensor]) -> None:
    masked.append(torch.tensor([[[0, 0]], [[1, 1]]]))
    update = merged("dare", rows([1.0, 2.0], [3.0, 4.0]), space="delta", flavor="mergekit")
    assert parts(update)[0][0].tolist() == [3.0, 4.0]


def test_the_weighted_sum_in_factor_space(masked: list[Tensor]) -> None:
    """PEFT's roots of weight times scaling, the sign on A; each factor divided by the density."""
    masked.append(torch.tensor([1, 0, 1, 0]))
    f, g = (factors(4, 4, 2, seed=i, dtype=torch.float64) for i in (1, 2))
    inputs = Stack.of([f, g], [2.0, -1.0], scalings=(2.0, 9.0))
    update = merged("dare", inputs, density=0.5)
    mask = torch.tensor([1.0, 0, 1, 0]).double()
    A = 2 * (2 * f.A - 3 * g.A) * mask
    B = 2 * (2 * f.B / 2 + 3 * g.B / 9) * mask[:, None]
    for result, expected in zip(parts(update), (A, B), strict=True):
        torch.testing.assert_close(result, expected)


def test_dare_ties_elects_among_what_is_left(masked: list[Tensor]) -> None:
    masked.append(torch.tensor([[[1, 1, 1, 0]], [[1, 1, 0, 0]], [[0, 1, 1, 0]]]))
    taus = [1.0, 1.0, 1.0, 1.0], [2.0, 1.0, -4.0, 1.0], [-9.0, -4.0, -1.0, 1.0]
    inputs = rows(*taus, weights=[1.0, 3.0, 1.0])
    result = parts(merged("dare-ties", inputs, space="delta", density=0.5))[0][0].tolist()
    # Doubled; the second and third entry elect -, in a draw +; divided by the number that agree.
    assert result == [(2 + 3 * 4) / 2, -8.0, 2.0, 0.0]


def test_dare_ties_of_mergekit_elects_with_weights_and_sums(masked: list[Tensor]) -> None:
    masked.append(torch.tensor([[[1, 1]], [[1, 1]], [[1, 0]]]))
    inputs = rows([1.0, 1.0], [2.0, 3.0], [-4.0, 1.0], weights=[2.0, 2.0, 1.0])
    result = parts(merged("dare-ties", inputs, space="delta", flavor="mergekit"))[0][0].tolist()
    # The third's sum of magnitudes, 5, is all in its first entry.
    assert result == [2 + 4, 2 + 6]
    inputs = inputs.reweighted((-2.0, 2.0, 1.0))
    result = parts(merged("dare-ties", inputs, space="delta", flavor="mergekit"))[0][0].tolist()
    assert result == [-2 - 5, 6]


def test_dare_ties_by_frequency(masked: list[Tensor]) -> None:
    masked.append(torch.ones(1))
    inputs = rows([1.0], [1.0], [-5.0])
    result = merged("dare-ties", inputs, space="delta", density=1, elect="frequency")
    assert parts(result)[0].item() == 1.0
    result = merged("dare-ties", inputs, space="delta", density=1)
    assert parts(result)[0].item() == -5.0
    with pytest.raises(MergeError, match="elects by the total"):
        merged("dare-ties", inputs, flavor="mergekit", elect="frequency")


@pytest.mark.parametrize("flavor", ["peft", "mergekit"])
@pytest.mark.parametrize("space", SPACES)
def test_density_one_drops_nothing(space: str, flavor: str) -> None:
    inputs = stack(ranks=(3, 0, 4), weights=(2, 1, -1), dtype=torch.float64)
    result = parts(merged("dare", inputs, space=space, flavor=flavor, density=1))
    if space == "delta":
        expected = [2 * inputs.factors[0].dense() - inputs.factors[2].dense()]
    else:
        first, _, second = (f.pad(4) for f in inputs.factors)
        expected = [2**0.5 * first.A - second.A, 2**0.5 * first.B + second.B]
    for x, y in zip(result, expected, strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("density", [0.1, 0.7])
def test_density_is_the_share_that_is_kept(density: float, space: str) -> None:
    inputs = stack(d_out=300, d_in=200, ranks=(100,))
    for x in parts(merged("dare", inputs, density=density, space=space)):
        share = float((x != 0).double().mean())
        assert abs(share - density) < 4 * (density * (1 - density) / x.numel()) ** 0.5


@pytest.mark.parametrize("space", SPACES)
def test_the_mean_over_seeds_is_the_sum(space: str) -> None:
    inputs = stack(ranks=(3, 3), weights=(1, -0.5), dtype=torch.float64)

    def delta(seed: int, density: float) -> Tensor:
        update = merged("dare", inputs, space=space, seed=seed, density=density)
        return update.delta if isinstance(update, Dense) else update.dense()

    drawn, expected = torch.stack([delta(seed, 0.5) for seed in range(200)]), delta(0, 1)
    off = (drawn - expected).square().mean().sqrt()
    assert (drawn.mean(0) - expected).square().mean().sqrt() < 1.5 * off / 200**0.5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("space", SPACES)
def test_draws_depend_on_seed_module_and_place_only(name: str, space: str) -> None:
    inputs = replace(stack(d_out=20, d_in=30, ranks=(3, 4)), module="m")
    torch.manual_seed(1)
    first = merged(name, inputs, space=space, seed=5)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    merged(name, replace(inputs, module="elsewhere"), space=space, seed=5)
    second = merged(name, inputs, space=space, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, parts(first), parts(second)))
    for other in (replace(inputs, module="n"), Stack.of(inputs.factors[::-1], module="m")):
        assert not torch.equal(parts(merged(name, other, space=space, seed=5))[0], parts(first)[0])
    assert not torch.equal(parts(merged(name, inputs, space=space, seed=6))[0], parts(first)[0])


@pytest.mark.parametrize("space", SPACES)
def test_an_adapters_draws_do_not_depend_on_the_others(space: str) -> None:
    """Merge the same adapter with zero updates of other ranks."""
    mine = factors(20, 30, 3, seed=1)
    zeros = [Factors(torch.zeros(r, 30), torch.zeros(20, r)) for r in (0, 3, 5)]
    result = [merged("dare", Stack.of([mine, zero]), space=space) for zero in zeros]
    deltas = [f.delta if isinstance(f, Dense) else f.dense() for f in result]
    assert torch.equal(deltas[0], deltas[1])
    torch.testing.assert_close(deltas[0], deltas[2])


def test_adapters_factors_and_bands_are_dropped_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = Factors(torch.ones(4, 40), torch.ones(40, 4))
    inputs = Stack.of([ones, ones])
    A, B = (x != 0 for x in parts(merged("dare", Stack.of([ones]))))
    assert not torch.equal(A, B.T)
    both = parts(merged("dare", inputs))[0]
    assert 0.3 < float((both == 2).double().mean()) < 0.7  # one of the two, as 1 / density
    monkeypatch.setattr(_entries, "_BAND", 40 * 20)
    bands = parts(merged("dare", Stack.of([ones]), space="delta"))[0] != 0
    assert not torch.equal(bands[:20], bands[20:])


@pytest.mark.parametrize("p", [0.5, 0.3, 1.0, 1e-3, 255.5 / 256])
@pytest.mark.parametrize("n", [1, 15, 2112])
def test_numbers_of_24_bits_are_compared_with_the_probability(p: float, n: int) -> None:
    """The first byte of every number, and then the others of those that it leaves open."""
    words = np.random.SFC64(3)
    first = draw_integers(words, n, np.uint8).astype(int)
    bound = math.ceil(p * 2**24)
    undecided = np.flatnonzero(first == bound // 2**16)
    rest = np.zeros(n, int)
    if bound % 2**16:
        rest[undecided] = draw_integers(words, len(undecided), np.uint16)
    expected = first * 2**16 + rest < bound
    assert draw_kept(np.random.SFC64(3), p, n).bool().tolist() == expected.tolist()


@pytest.mark.parametrize("p", [0.5, 0.3, 1.0, 1e-3, 1 / 256 + 1 / 2**17])
def test_as_many_are_drawn_as_the_probability_says(p: float) -> None:
    n = 1 << 20
    share = draw_kept(np.random.SFC64(5), p, n).double().mean().item()
    assert abs(share - p) <= 4 * math.sqrt(p * (1 - p) / n)


def test_integers_are_the_bytes_of_one_stream() -> None:
    words = np.random.SFC64(7).random_raw(2)
    expected = [int(word) >> shift & 0xFFFF for word in words for shift in (0, 16, 32, 48)]
    assert draw_integers(np.random.SFC64(7), 7, np.uint16).tolist() == expected[:7]
