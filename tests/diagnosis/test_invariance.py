"""The whole survey of a module under changes of coordinates, order, scale and padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import Phase, given as cases, settings, strategies as st

from factories.adapters import factors, stack
from factories.planted_updates import change_coordinates
from robustmerge.diagnosis.cross_terms import CrossTerms
from robustmerge.diagnosis.signs import Signs
from robustmerge.diagnosis.survey import ModuleInputs, Row, survey_module
from robustmerge.diagnosis.values import Histogram, Values
from robustmerge.factors import Factors, Stack

NAMES = ("a", "b", "c")
SQUARED = {"weight"}
LINEAR = {"norm", "values", "deviation", "change"}
few = settings(max_examples=12, phases=[Phase.generate])  # shrinking takes minutes
ratios = st.lists(st.integers(0, 4), min_size=3, max_size=3)


def survey(updates: Sequence[Factors], merged: Factors, names: Sequence[str] = NAMES) -> list[Row]:
    inputs = ModuleInputs(Stack.of(list(updates), module="m"), (merged,), 2.0)
    return list(survey_module(inputs, names, ("out",)))


def key_rows(rows: Sequence[Row]) -> dict[tuple[object, ...], dict[str, Any]]:
    """Return figures by the words of their rows; the two words of a pair are sorted."""
    keyed = {}
    for row in rows:
        figures = asdict(row)
        words = tuple(sorted(v for v in figures.values() if isinstance(v, str)))
        key = (type(row).__name__, *words, figures.pop("index", None))
        keyed[key] = {k: v for k, v in figures.items() if not isinstance(v, str)}
    assert len(keyed) == len(rows)
    return keyed


def assert_same(rows: Sequence[Row], others: Sequence[Row], scale: float = 1.0) -> None:
    first, second = key_rows(rows), key_rows(others)
    assert first.keys() == second.keys()
    for key, figures in first.items():
        for name, value in figures.items():
            by = scale**2 if name in SQUARED else scale if name in LINEAR else 1.0
            if key[0] == "Signs" and name == "weight":
                by = scale
            expected = [v * by for v in value] if isinstance(value, tuple) else value
            if isinstance(value, float):
                expected = value * by
            actual = second[key][name]
            if actual is None or value is None:
                assert actual is value, (key, name)
                continue
            actual = list(actual) if isinstance(actual, tuple) else actual
            assert actual == pytest.approx(expected, rel=1e-5, abs=1e-5 * by), (key, name)


def make_updates(ranks: list[int], merged: int, seed: int) -> tuple[tuple[Factors, ...], Factors]:
    from torch import float64

    return stack(12, 10, ranks, seed=seed, dtype=float64).factors, factors(
        12, 10, merged, seed + 9000, float64
    )


@few
@cases(ratios, st.integers(0, 6), st.integers(0, 99))
def test_coordinates_of_the_factors_do_not_matter(ranks: list[int], merged: int, seed: int) -> None:
    """Check all figures but those of coordinates: values and cosine of A and B, cross terms."""
    updates, other = make_updates(ranks, merged, seed)

    def without(rows: list[Row]) -> list[Row]:
        kept = [r for r in rows if not isinstance(r, CrossTerms)]
        kept = [r for r in kept if not isinstance(r, Values | Histogram) or r.matrix == "delta"]
        return [replace(r, A_cosine=None) if hasattr(r, "A_cosine") else r for r in kept]

    transformed = [change_coordinates(f, seed + t) if f.rank else f for t, f in enumerate(updates)]
    expected = survey(transformed, change_coordinates(other, seed) if merged else other)
    assert_same(without(survey(updates, other)), without(expected))


@few
@cases(ratios, st.integers(0, 6), st.integers(0, 99))
def test_the_order_of_adapters_does_not_matter(ranks: list[int], merged: int, seed: int) -> None:
    updates, other = make_updates(ranks, merged, seed)
    order = [2, 0, 1]
    permuted = survey([updates[i] for i in order], other, [NAMES[i] for i in order])

    def without(rows: list[Row]) -> list[Row]:
        return [replace(r, chance=None) if isinstance(r, Signs) else r for r in rows]

    assert_same(without(survey(updates, other)), without(permuted))


@few
@cases(ratios, st.integers(0, 6), st.integers(0, 99), st.sampled_from([1e-6, 0.3, 1e5]))
def test_a_common_scale_scales_norms_and_nothing_else(
    ranks: list[int], merged: int, seed: int, scale: float
) -> None:
    updates, other = make_updates(ranks, merged, seed)
    rows = survey([f.scaled(scale) for f in updates], other.scaled(scale))
    keep = [r for r in survey(updates, other) if not isinstance(r, Values) or r.matrix != "A"]
    assert_same(keep, [r for r in rows if not isinstance(r, Values) or r.matrix != "A"], scale)


@few
@cases(ratios, st.integers(0, 6), st.integers(0, 99))
def test_zero_directions_do_not_matter(ranks: list[int], merged: int, seed: int) -> None:
    """Pad all alike, so that A's can be compared; figures of the zeros themselves are left out."""
    updates, other = make_updates(ranks, merged, seed)
    padded = [f.pad(f.rank + 2) if f.rank else f for f in updates]

    def without(rows: list[Row]) -> list[Row]:
        return [r for r in rows if not isinstance(r, Values | Histogram) or r.matrix == "delta"]

    assert_same(without(survey(updates, other)), without(survey(padded, other.pad(merged + 3))))
