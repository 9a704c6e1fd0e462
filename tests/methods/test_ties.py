"""TIES in each flavor, against the definition written entry by entry."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from factories.adapters import rows, stack
from robustmerge import methods
from robustmerge.errors import MergeError
from robustmerge.factors import Dense, Factors, Stack
from robustmerge.methods.entrywise import _entries

TIES = methods.get("ties")
SPACES = ("factor", "delta")


def merged(stacks: Sequence[Stack], **settings: Any) -> list[Factors | Dense]:
    """Return all modules of a model, merged as the engine does it."""
    parameters = TIES.configure(settings)
    assert TIES.survey is not None
    actual = TIES.survey(lambda work: map(work, stacks), [parameters] * len(stacks))
    surveyed = {} if actual is None else {"surveyed": actual}
    return [TIES(s, **parameters, **surveyed) for s in stacks]  # type: ignore[misc]


def delta(inputs: Stack, **parameters: Any) -> list[float]:
    """Return one module of one output, merged as a delta."""
    (update,) = merged([inputs], space="delta", **parameters)
    assert isinstance(update, Dense)
    return update.delta[0].tolist()


def trimmed(tau: Sequence[float], keep: int) -> list[float]:
    if keep == 0:
        return [0.0] * len(tau)
    floor = sorted((abs(x) for x in tau), reverse=True)[min(keep, len(tau)) - 1]
    return [x if abs(x) >= floor else 0.0 for x in tau]


def by_hand(
    taus: Sequence[Sequence[float]],
    weights: Sequence[float],
    keeps: Sequence[int],
    flavor: str,
    elect: str = "total",
) -> list[float]:
    """TIES over vectors, entry by entry."""
    kept = [trimmed(tau, keep) for tau, keep in zip(taus, keeps, strict=True)]
    signs = []
    for entry in zip(*kept, strict=True):
        votes = (
            [w * x for w, x in zip(weights, entry, strict=True)]
            if flavor == "mergekit"
            else list(entry)
        )
        if elect == "frequency":
            votes = [(x > 0) - (x < 0) for x in votes]
        signs.append((sum(votes) > 0) - (sum(votes) < 0))
    draw = (1 if sum(signs) > 0 else -1) if flavor == "paper" else 1
    result = []
    for entry, sign in zip(zip(*kept, strict=True), signs, strict=True):
        agree = [(w, x) for w, x in zip(weights, entry, strict=True) if x * (sign or draw) > 0]
        by = sum(w for w, _ in agree) if flavor == "mergekit" else len(agree)
        result.append(sum(w * x for w, x in agree) / by if by else 0.0)
    return result


def padded(x: Tensor, rank: int) -> list[float]:
    return torch.nn.functional.pad(x, (0, 0, 0, rank - len(x))).flatten().tolist()


TAU_1, TAU_2 = [0.5, -0.2, 0.1, 0.9], [-0.4, -0.3, 0.6, 0.05]


def test_worked_numbers_of_the_released_code() -> None:
    actual = delta(rows(TAU_1, TAU_2), flavor="paper", density=0.5)
    assert actual == pytest.approx([0.5, -0.25, 0.6, 0.9])


@pytest.mark.parametrize("flavor", ["peft", "mergekit"])
def test_worked_numbers_of_exact_trimming(flavor: str) -> None:
    actual = delta(rows(TAU_1, TAU_2), flavor=flavor, density=0.5)
    assert actual == pytest.approx([0.5, 0, 0.6, 0.9])


@pytest.mark.parametrize(
    ("flavor", "expected"), [("peft", [1, 0, 0.6, 1.8]), ("mergekit", [0.5, 0, 0.6, 0.9])]
)
def test_worked_numbers_with_weights(flavor: str, expected: list[float]) -> None:
    actual = delta(rows(TAU_1, TAU_2, weights=(2, 1)), flavor=flavor, density=0.5)
    assert actual == pytest.approx(expected)


def test_only_mergekit_elects_with_weights() -> None:
    inputs = rows([1.0], [-2.0], weights=(3, 1))
    assert delta(inputs, flavor="peft", density=1) == [-2.0]
    assert delta(inputs, flavor="mergekit", density=1) == [1.0]


def test_election_by_frequency() -> None:
    inputs = rows([1.0, 1.0], [1.0, -4.0], [-5.0, 0.0])
    assert delta(inputs, density=1) == [-5.0, -4.0]
    assert delta(inputs, density=1, elect="frequency") == [1.0, 1.0]


@pytest.mark.parametrize(
    ("flavor", "expected"), [("peft", 2.0), ("mergekit", 2.0), ("paper", -2.0)]
)
def test_a_draw_is_plus_or_with_the_paper_the_models_majority(flavor: str, expected: float) -> None:
    inputs = rows([2.0, -1.0, -1.0], [-2.0, -1.0, 0.5])
    assert delta(inputs, flavor=flavor, density=1)[0] == expected


def test_a_draw_in_a_model_of_draws_is_minus_with_the_paper() -> None:
    assert delta(rows([2.0, 1.0], [-2.0, -1.0]), flavor="paper", density=1) == [-2.0, -1.0]


def test_equal_magnitudes_at_the_threshold_are_all_kept() -> None:
    assert delta(rows([1.0, -1.0, 0.5, 2.0]), density=0.5) == [1.0, -1.0, 0.0, 2.0]


def test_nothing_is_kept_where_the_density_leaves_less_than_one_entry() -> None:
    """But with the paper and mergekit one is."""
    assert delta(rows([1.0, 2.0, 3.0]), density=0.3) == [0.0, 0.0, 0.0]
    assert delta(rows([1.0, 2.0, 3.0]), density=0.3, flavor="paper") == [0.0, 0.0, 3.0]
    assert delta(rows([1.0, 2.0, 3.0]), density=0.3, flavor="mergekit") == [0.0, 0.0, 3.0]


WEIGHTED = [("peft", "total", (2, -0.5, 1)), ("peft", "frequency", (2, -0.5, 1))]
WEIGHTED += [("mergekit", "total", (2, 0.5, 0)), ("paper", "total", (1, 1, 1))]


@pytest.mark.parametrize(("flavor", "elect", "weights"), WEIGHTED)
@pytest.mark.parametrize("density", [0.25, 1.0])
def test_deltas_by_the_definition(
    flavor: str,
    elect: str,
    weights: tuple[float, ...],
    density: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_entries, "_BAND", 40)
    inputs = stack(ranks=(3, 0, 5), weights=weights, dtype=torch.float64)
    (actual,) = merged([inputs], space="delta", flavor=flavor, elect=elect, density=density)
    taus = [f.dense().flatten().tolist() for f in inputs.factors]
    keep = int(120 * density) + (flavor == "paper")
    expected = by_hand(taus, weights, [keep] * 3, flavor, elect)
    assert isinstance(actual, Dense)
    assert actual.delta.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("flavor", "elect", "weights"), WEIGHTED)
def test_factors_by_the_definition(flavor: str, elect: str, weights: tuple[float, ...]) -> None:
    """Unequal ranks are trimmed at their own, and scalings are folded in but with PEFT."""
    scalings = (2.0, 1.0, 0.125)
    plain = stack(ranks=(3, 0, 5), weights=weights, dtype=torch.float64)
    (actual,) = merged([replace(plain, scalings=scalings)], flavor=flavor, elect=elect, density=0.4)
    assert isinstance(actual, Factors)
    inner = [1.0 if flavor == "peft" else s for s in scalings]
    outer = [w * (s if flavor == "peft" else 1) for w, s in zip(weights, scalings, strict=True)]
    parts = {
        "A": [f.A * math.sqrt(s) for f, s in zip(plain.factors, inner, strict=True)],
        "B": [
            f.B.T / s * math.sqrt(i) for f, s, i in zip(plain.factors, scalings, inner, strict=True)
        ],
    }
    for name, part in parts.items():
        sides = [math.sqrt(abs(w)) for w in outer]
        if name == "A":
            sides = [math.copysign(x, w) for x, w in zip(sides, outer, strict=True)]
        keeps = [int(x.numel() * 0.4) + (flavor == "paper") for x in part]
        expected = by_hand([padded(x, 5) for x in part], sides, keeps, flavor, elect)
        got = actual.A if name == "A" else actual.B.T
        assert got.flatten().tolist() == pytest.approx(expected), name


@pytest.mark.parametrize("space", SPACES)
def test_the_paper_trims_over_the_whole_model(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take one much larger module, which nearly all kept entries are in."""
    monkeypatch.setattr(_entries, "_BAND", 40)
    small, large = (
        stack(d_out=6, d_in=9, ranks=(2, 0)),
        stack(d_out=8, d_in=7, ranks=(3, 2), seed=1),
    )
    small = Stack.of([Factors(f.A * 0.3, f.B * 0.1) for f in small.factors], module="small")
    actual = merged([small, large], space=space, flavor="paper", density=0.3)

    def vector(module: Stack, t: int, part: str) -> list[float]:
        f, rank = module.factors[t], max(module.ranks)
        return {
            "A": lambda: padded(f.A, rank),
            "B": lambda: padded(f.B.T, rank),
            "delta": lambda: f.dense().flatten().tolist(),
        }[part]()

    for part in ("delta",) if space == "delta" else ("A", "B"):
        taus = [vector(small, t, part) + vector(large, t, part) for t in (0, 1)]
        own = [len(taus[t]) for t in (0, 1)]
        if part != "delta":
            own = [sum(getattr(m.factors[t], part).numel() for m in (small, large)) for t in (0, 1)]
        expected = by_hand(taus, (1, 1), [int(n * 0.3) + 1 for n in own], "paper")
        got = [(u.delta if part == "delta" else getattr(u, part)) for u in actual]  # type: ignore[union-attr]
        flat = [x for u in got for x in (u.T if part == "B" else u).flatten().tolist()]
        assert flat == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_the_order_of_modules_does_not_matter(space: str) -> None:
    present = [replace(stack(ranks=(3, 2), seed=i), module=str(i)) for i in range(3)]
    single = merged(present, space=space, flavor="paper")
    two = merged(present[::-1], space=space, flavor="paper")[::-1]
    assert all(
        torch.equal(x, y)
        for a, b in zip(single, two, strict=True)
        for x, y in zip(vars(a).values(), vars(b).values(), strict=True)
    )


REFUSED: list[tuple[dict[str, str], tuple[float, ...], str]] = [
    ({"flavor": "paper", "elect": "frequency"}, (1, 1), "elects by the total, not by frequency"),
    ({"flavor": "mergekit", "elect": "frequency"}, (1, 1), "elects by the total"),
    ({"flavor": "paper"}, (1, 0.5), r"knows no weights, and these are \[1.0, 0.5\]"),
    ({"flavor": "mergekit"}, (1, -1), r"must not be negative as in \[1.0, -1.0\]"),
]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("settings", "weights", "problem"), REFUSED)
def test_what_a_flavor_does_not_know_is_refused(
    settings: dict[str, str], weights: tuple[float, ...], problem: str, space: str
) -> None:
    with pytest.raises(MergeError, match=problem):
        merged([stack(ranks=(2, 2), weights=weights)], space=space, **settings)


def test_what_the_paper_does_not_know_is_refused_before_the_whole_model_is_read() -> None:
    def stacks() -> Iterator[Stack]:
        yield stack(ranks=(2, 2), weights=(1, 0.5))
        pytest.fail("there is no need for a second module")

    assert TIES.survey is not None
    with pytest.raises(MergeError, match="knows no weights"):
        TIES.survey(
            lambda work: map(work, stacks()),
            [TIES.configure({"flavor": "paper", "space": "delta"})],
        )


def test_the_paper_without_the_whole_model_is_refused() -> None:
    with pytest.raises(MergeError, match="this is one module"):
        TIES(stack(), **TIES.configure({"flavor": "paper"}))


@pytest.mark.parametrize(
    "other", [{"flavor": "paper", "density": 0.3}, {"flavor": "peft", "density": 0.2}]
)
def test_the_paper_with_other_parameters_for_some_modules_is_refused(other: dict[str, Any]) -> None:
    first, second = TIES.configure({"flavor": "paper"}), TIES.configure(other)
    assert TIES.survey is not None
    for parameters in ([first, second], [second, first]):
        with pytest.raises(MergeError, match="looks at the whole model, but"):
            TIES.survey(lambda work: map(work, [stack(), stack()]), parameters)


def test_other_flavors_may_differ_between_modules() -> None:
    parameters = [TIES.configure({"density": d}) for d in (0.2, 0.3)]
    assert TIES.survey is not None
    assert TIES.survey(lambda work: map(work, [stack(), stack()]), parameters) is None
