"""Tables in JSON, and the comparison of A's from them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from factories.diagnoses import MERGES, invented
from robustmerge.diagnosis.verdict import compare_initializations


def test_json_names_the_inputs() -> None:
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


def test_comparison_of_the_As() -> None:
    similarity = compare_initializations(invented())
    assert similarity is not None
    assert (similarity.modules, similarity.of) == (2, 2)
    assert [(p.first, p.second) for p in similarity.pairs] == [(0, 1), (0, 2), (1, 2)]
    pair = similarity.pairs[0]
    assert (pair.cosine, pair.row_spaces, pair.chance) == pytest.approx((0.9, 0.2**0.5, 0.1))
    unlike = tuple(replace(row, A_cosine=None) for row in invented().pairs)
    similarity = compare_initializations(replace(invented(), pairs=unlike))
    assert similarity is not None
    assert similarity.pairs[0].cosine is None
