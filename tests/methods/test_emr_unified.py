"""EMR-Merging's unified vector against the worked example and the definition written slowly."""

from __future__ import annotations

import pytest

from factories.adapters import rows
from robustmerge.methods.entrywise import _entries
from robustmerge.testing import MethodCase, random_stack

EMR = MethodCase.of("emr-unified", {"space": "delta"})


def test_worked_numbers() -> None:
    assert EMR.merge(rows([1.0, -2, 3], [2.0, 1, -1])).tolist() == [[2, -2, 3]]


def test_the_largest_of_the_minority_does_not_count() -> None:
    assert EMR.merge(rows([3.0, -3], [-2.0, 2], [-2.0, 1.5])).tolist() == [[-2, 2]]


def test_a_draw_is_nothing() -> None:
    assert EMR.merge(rows([1.0, 1], [-1.0, 0])).tolist() == [[0, 1]]


def test_deltas_by_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_entries, "_BAND", 40)
    inputs = random_stack(12, 10, (3, 0, 5, 2), weights=(3, 2, -1, 1))
    taus = [
        (w * f.dense()).flatten().tolist()
        for f, w in zip(inputs.factors, inputs.weights, strict=True)
    ]
    expected = [
        max((x for x in entry if x * sum(entry) > 0), key=abs) for entry in zip(*taus, strict=True)
    ]
    assert EMR.merge(inputs).flatten().tolist() == pytest.approx(expected)
