"""Tables as JSON has them, and what is read off them about the A's."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from factories.diagnoses import MERGES, invented
from robustmerge.diagnosis.verdict import compare_initializations


def test_json_says_what_was_looked_at() -> None:
    record = replace(invented(), notes=("a note",)).to_dict()
    assert record["merged"] == list(MERGES)
    assert record["base"] == "base"
    assert record["notes"] == ["a note"]
    edges = record["histogram_edges"]
    assert (len(edges), edges[0], edges[-1]) == (51, -5, 5)
    assert [row["modules"] for row in record["pooled"]["signs"]] == [2]


def test_json_has_few_digits_and_nothing_infinite() -> None:
    row = replace(
        invented().spectra[0], head_to_tail=math.inf, norm=2 / 3, values=(1 / 3, 1e-9 / 3)
    )
    columns = replace(invented(), spectra=(row,)).to_dict()["tables"]["spectra"]
    assert columns["head_to_tail"] == [None]
    assert columns["norm"] == [0.666667]
    assert columns["values"] == [[0.333333, 3.33333e-10]]


def test_only_tables_of_modules_are_pooled() -> None:
    for name in ("modules", "curves", "nonsense"):
        with pytest.raises(ValueError, match=f"'{name}' is not one of spectra, values, pairs"):
            invented().pooled(name)


def test_the_likeness_of_the_As() -> None:
    found = compare_initializations(invented())
    assert found is not None
    assert (found.modules, found.of) == (2, 2)
    assert [(p.first, p.second) for p in found.pairs] == [(0, 1), (0, 2), (1, 2)]
    one = found.pairs[0]
    assert (one.cosine, one.row_spaces, one.chance) == pytest.approx((0.9, 0.2**0.5, 0.1))
    unlike = tuple(replace(row, A_cosine=None) for row in invented().pairs)
    found = compare_initializations(replace(invented(), pairs=unlike))
    assert found is not None
    assert found.pairs[0].cosine is None
