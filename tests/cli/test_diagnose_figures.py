"""Every number that `robustmerge diagnose` prints is the one that its words promise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.table import Table

from factories.diagnoses import LONG, invented
from robustmerge.cli.diagnosis_tables import adapters, fates, wholes
from robustmerge.cli.diagnosis_words import before
from robustmerge.cli.show_diagnosis import summary
from robustmerge.diagnosis.tables import Diagnosis


def rows(table: Table) -> list[list[str]]:
    columns = [[str(cell).strip() for cell in column.cells] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def without(table: str, **figures: Any) -> Diagnosis:
    """The same, with figures of one table that are undefined or others."""
    changed = tuple(replace(row, **figures) for row in getattr(invented(), table))
    return replace(invented(), **{table: changed})


def said(found: Diagnosis) -> dict[str, str]:
    """What stands before a merge, by its name; the second line of crowding under ''."""
    return {row.name: row.value for row in before(found)}


def test_words() -> None:
    assert said(invented()) == {
        "sizes": "norm 5 (vqa) to 15 (cap); 1.5% to 5.0% of the base's weights",
        "spectra": "the largest of 4 directions holds 34% to 69% of the energy; σ_1/σ_r 3 to 6, "
        "effective rank 1.4 to 3.5",
        "cosine": "-0.15 (vqa and cap) to 0.40 (ocr and cap)",
        "inputs": "0.200 (vqa and ocr) to 0.500 (vqa and cap); chance 0.05",
        "outputs": "0.010 (ocr and cap) to 0.060 (vqa and cap); chance 0.07",
        "A's": "cosine of entries 0.50 (vqa and cap) to 0.90 (vqa and ocr)",
        "signs": "35% of the mass against the elected sign (chance 45%)",
        "crowding": "1.5 of 11 input directions shared beyond chance, with 20% of the energy",
        "": "0.0 of 7 output directions shared beyond chance, with 0% of the energy",
        "factors": "summed apart, cosine 0.60 to the sum of updates, cross terms 2.5 times its "
        "energy",
        "sum": "energy 0.80 times the adapters' together; a cut to their rank keeps 60%, rank 5 "
        "keeps 90%, rank 8 99% (in 9 of 10 modules)",
    }


def test_words_where_there_is_nothing_to_say() -> None:
    spectra = tuple(row for row in invented().spectra if row.update == "vqa")
    alone = replace(invented(), adapters=("vqa",), merged=(), base=None, spectra=spectra)
    assert list(said(alone)) == ["sizes", "spectra"]
    assert said(alone)["sizes"] == "norm 5 (vqa) to 5 (vqa)"
    assert said(without("pairs", A_cosine=None))["A's"] == "cosine of entries not defined"
    assert said(without("pairs", cosine=0.25))["cosine"] == "0.25"
    assert said(without("spectra", first_share=None))["spectra"] == "all updates are zero"
    assert said(without("total", at_input_rank=None))["sum"] == "zero"
    assert "signs" not in said(without("signs", opposed=None, chance=None))
    assert "factors" not in said(without("apart", ratio=None, cosine=None, gain=None))


def test_a_row_for_every_adapter() -> None:
    assert rows(adapters(invented())) == [
        ["vqa", "5", "34%", "3.5", "-1.2", "0.3", "2.5", "50%"],
        ["ocr", "10", "69%", "1.4", "0.5", "2.0", "0.25", "75%"],
        ["cap", "15", "56%", "2.2", "0.0", "0.1", "4", "10%"],
    ]
    assert rows(adapters(replace(invented(), values=())))[0][4:6] == ["–", "–"]
    assert rows(adapters(without("heard", cut=None)))[0][-1] == "–"


def test_a_row_for_every_merge() -> None:
    first, second = rows(wholes(invented()))
    assert first == ["sum", "1.30", "0.60", "0.20", "cap", "80%", "11%", "5%", "4%"]
    assert second == [
        *("…than-its-column", "0.20", "1.20", "1.00", "vqa"),
        *("10%", "20%", "30%", "40%"),
    ]
    assert rows(wholes(without("kept", coefficient=None)))[0][2:5] == ["–", "–", "–"]
    assert rows(wholes(without("kept", coefficient=-1e-3)))[0][2:4] == ["0.00", "0.00"]


def test_what_became_of_directions() -> None:
    first, second = rows(fates(invented()))
    assert first == ["sum", "0.90", "0.40", "0.50", "0.10", "0.60", "0.20", "0.70", "0.30"]
    # Where singular values repeat all but the answer is marked.
    assert second[1:] == ["0.80", "0.44", "~0.39", "~0.14", "~0.59", "~0.24", "~1.20", "~0.34"]
    assert rows(fates(without("directions", both=-1e-3)))[0][3:5] == ["0.00", "0.00"]
    assert rows(fates(replace(invented(), directions=())))[0] == ["sum", *[""] * 8]


def test_all_of_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    summary(replace(invented(), notes=("of [b]one[/b] kind",)))
    lines = capsys.readouterr().out
    assert lines.count("\n  start ") == 1  # its second sentence stands under the same name
    out = " ".join(lines.split())
    assert out.startswith("2 modules, 3 adapters, 2 merges note: of [b]one[/b] kind")
    order = ["vqa and cap oppose", "Start with", f"{LONG} Probably too large", "before merging"]
    order += ["norm 5 (vqa)", "rank 5 keeps 90%", "crosstalk: energy of the others'"]
    order += ["after merging", "size: norm over", "Of an adapter's directions"]
    places = [out.index(words) for words in order]
    assert places == sorted(places)
