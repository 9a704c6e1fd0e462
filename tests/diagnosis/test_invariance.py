"""The whole survey of a module: what must not change it, and what must."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import Phase, given as cases, settings, strategies as st

from factories.adapters import factors, stack
from factories.planted_updates import turned
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


def surveyed(
    updates: Sequence[Factors], merged: Factors, names: Sequence[str] = NAMES
) -> list[Row]:
    given = ModuleInputs(Stack.of(list(updates), module="m"), (merged,), 2.0)
    return list(survey_module(given, names, ("out",)))


def table(rows: Sequence[Row]) -> dict[tuple[object, ...], dict[str, Any]]:
    """Figures by the words of their rows; a pair's in one order."""
    found = {}
    for row in rows:
        figures = asdict(row)
        words = tuple(sorted(v for v in figures.values() if isinstance(v, str)))
        key = (type(row).__name__, *words, figures.pop("index", None))
        found[key] = {k: v for k, v in figures.items() if not isinstance(v, str)}
    assert len(found) == len(rows)
    return found


def same(one: Sequence[Row], other: Sequence[Row], scale: float = 1.0) -> None:
    first, second = table(one), table(other)
    assert first.keys() == second.keys()
    for key, figures in first.items():
        for name, value in figures.items():
            by = scale**2 if name in SQUARED else scale if name in LINEAR else 1.0
            if key[0] == "Signs" and name == "weight":
                by = scale
            expected = [v * by for v in value] if isinstance(value, tuple) else value
            if isinstance(value, float):
                expected = value * by
            found = second[key][name]
            if found is None or value is None:
                assert found is value, (key, name)
                continue
            found = list(found) if isinstance(found, tuple) else found
            assert found == pytest.approx(expected, rel=1e-5, abs=1e-5 * by), (key, name)


def made(ranks: list[int], merged: int, seed: int) -> tuple[tuple[Factors, ...], Factors]:
    from torch import float64

    return stack(12, 10, ranks, seed=seed, dtype=float64).factors, factors(
        12, 10, merged, seed + 9000, float64
    )


@few
@cases(ratios, st.integers(0, 6), st.integers(0, 99))
def test_coordinates_of_the_factors_do_not_matter(ranks: list[int], merged: int, seed: int) -> None:
    """Except where the figure is about them: the values of A and B, A's cosine, merging apart."""
    updates, other = made(ranks, merged, seed)

    def without(rows: list[Row]) -> list[Row]:
        kept = [r for r in rows if not isinstance(r, CrossTerms)]
        kept = [r for r in kept if not isinstance(r, Values | Histogram) or r.matrix == "delta"]
        return [replace(r, A_cosine=None) if hasattr(r, "A_cosine") else r for r in kept]

    gauged = [turned(f, seed + t) if f.rank else f for t, f in enumerate(updates)]
    moved = surveyed(gauged, turned(other, seed) if merged else other)
    same(without(surveyed(updates, other)), without(moved))


@few
@cases(ratios, st.integers(0, 6), st.integers(0, 99))
def test_the_order_of_adapters_does_not_matter(ranks: list[int], merged: int, seed: int) -> None:
    updates, other = made(ranks, merged, seed)
    order = [2, 0, 1]
    turned_round = surveyed([updates[i] for i in order], other, [NAMES[i] for i in order])

    def without(rows: list[Row]) -> list[Row]:
        return [replace(r, chance=None) if isinstance(r, Signs) else r for r in rows]

    same(without(surveyed(updates, other)), without(turned_round))


@few
@cases(ratios, st.integers(0, 6), st.integers(0, 99), st.sampled_from([1e-6, 0.3, 1e5]))
def test_a_common_scale_scales_norms_and_nothing_else(
    ranks: list[int], merged: int, seed: int, scale: float
) -> None:
    updates, other = made(ranks, merged, seed)
    rows = surveyed([f.scaled(scale) for f in updates], other.scaled(scale))
    keep = [r for r in surveyed(updates, other) if not isinstance(r, Values) or r.matrix != "A"]
    same(keep, [r for r in rows if not isinstance(r, Values) or r.matrix != "A"], scale)


@few
@cases(ratios, st.integers(0, 6), st.integers(0, 99))
def test_zero_directions_do_not_matter(ranks: list[int], merged: int, seed: int) -> None:
    """All padded alike, so that A's can be compared; what looks at their zeros is left out."""
    updates, other = made(ranks, merged, seed)
    padded = [f.pad(f.rank + 2) if f.rank else f for f in updates]

    def without(rows: list[Row]) -> list[Row]:
        return [r for r in rows if not isinstance(r, Values | Histogram) or r.matrix == "delta"]

    same(without(surveyed(updates, other)), without(surveyed(padded, other.pad(merged + 3))))
