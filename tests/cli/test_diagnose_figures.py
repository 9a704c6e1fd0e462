"""Every number that `robustmerge diagnose` prints is that of its label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.table import Table

from factories.diagnoses import LONG, invented
from robustmerge.cli.diagnosis_tables import adapter_table, merge_table, overlap_table
from robustmerge.cli.diagnosis_words import describe_adapters
from robustmerge.cli.show_diagnosis import print_summary
from robustmerge.diagnosis.tables import Diagnosis


def rows(table: Table) -> list[list[str]]:
    columns = [[str(cell).strip() for cell in column.cells] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def changed(table: str, **figures: Any) -> Diagnosis:
    """Return the invented diagnosis with other figures in one table."""
    rows = tuple(replace(row, **figures) for row in getattr(invented(), table))
    return replace(invented(), **{table: rows})


def lines(diagnosis: Diagnosis) -> dict[str, str]:
    """Return the lines on adapters by label; the second line on shared directions has label ''."""
    return {row.name: row.value for row in describe_adapters(diagnosis)}


def test_lines() -> None:
    assert lines(invented()) == {
        "norms": "5 (vqa) to 15 (cap); 1.5% to 5.0% of the base's weights",
        "spectra": "the largest of 4 directions has 34% to 69% of the energy; σ_1/σ_r 3 to 6; "
        "effective rank 1.4 to 3.5",
        "cosine": "-0.15 (vqa and cap) to 0.40 (ocr and cap)",
        "input overlap": "0.200 (vqa and ocr) to 0.500 (vqa and cap); by chance 0.05",
        "output overlap": "0.010 (ocr and cap) to 0.060 (vqa and cap); by chance 0.07",
        "cosine of A": "0.50 (vqa and cap) to 0.90 (vqa and ocr)",
        "sign conflict": "35% of the weight mass disagrees with the majority sign; by chance 45%",
        "shared directions": "1.5 of 11 input directions, beyond chance, with 20% of the energy",
        "": "0.0 of 7 output directions, beyond chance, with 0% of the energy",
        "factor-wise sum": "the product of summed factors has cosine 0.60 with the exact sum; "
        "cross terms have 2.5 times its energy",
        "exact sum": "0.80 times the adapters' total energy; of it the adapters' rank keeps 60%, "
        "rank 5 90%, rank 8 99% (in 9 of 10 modules)",
    }


def test_lines_without_figures() -> None:
    spectra = tuple(row for row in invented().spectra if row.update == "vqa")
    alone = replace(invented(), adapters=("vqa",), merged=(), base=None, spectra=spectra)
    assert list(lines(alone)) == ["norms", "spectra"]
    assert lines(alone)["norms"] == "5 (vqa) to 5 (vqa)"
    assert lines(changed("pairs", A_cosine=None))["cosine of A"] == "not defined"
    assert lines(changed("pairs", cosine=0.25))["cosine"] == "0.25"
    assert lines(changed("spectra", first_share=None))["spectra"] == "all updates are zero"
    assert lines(changed("total", at_input_rank=None))["exact sum"] == "zero"
    assert "sign conflict" not in lines(changed("signs", opposed=None, chance=None))
    assert "factor-wise sum" not in lines(changed("apart", ratio=None, cosine=None, gain=None))


def test_a_row_for_every_adapter() -> None:
    assert rows(adapter_table(invented())) == [
        ["vqa", "5", "34%", "3.5", "-1.2", "0.3", "2.5", "50%"],
        ["ocr", "10", "69%", "1.4", "0.5", "2.0", "0.25", "75%"],
        ["cap", "15", "56%", "2.2", "0.0", "0.1", "4", "10%"],
    ]
    assert rows(adapter_table(replace(invented(), values=())))[0][4:6] == ["–", "–"]
    assert rows(adapter_table(changed("heard", cut=None)))[0][-1] == "–"


def test_a_row_for_every_merge() -> None:
    first, second = rows(merge_table(invented()))
    assert first == ["sum", "1.30", "0.60", "0.20", "cap", "80%", "11%", "5%", "4%"]
    assert second == [
        *("…than-its-column", "0.20", "1.20", "1.00", "vqa"),
        *("10%", "20%", "30%", "40%"),
    ]
    assert rows(merge_table(changed("kept", coefficient=None)))[0][2:5] == ["–", "–", "–"]
    assert rows(merge_table(changed("kept", coefficient=-1e-3)))[0][2:4] == ["0.00", "0.00"]


def test_direction_overlap() -> None:
    first, second = rows(overlap_table(invented()))
    assert first == ["sum", "0.90", "0.40", "0.50", "0.10", "0.60", "0.20", "0.70", "0.30"]
    # With repeated singular values all but the output cosine is marked.
    assert second[1:] == ["0.80", "0.44", "~0.39", "~0.14", "~0.59", "~0.24", "~1.20", "~0.34"]
    assert rows(overlap_table(changed("directions", both=-1e-3)))[0][3:5] == ["0.00", "0.00"]
    assert rows(overlap_table(replace(invented(), directions=())))[0] == ["sum", *[""] * 8]


def test_all_of_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(replace(invented(), notes=("of [b]one[/b] kind",)))
    printed = capsys.readouterr().out
    assert printed.count("\n  suggested start ") == 1  # the label of two sentences
    out = " ".join(printed.split())
    assert out.startswith("2 modules, 3 adapters, 2 merges note: of [b]one[/b] kind")
    order = ["vqa and cap oppose", "Start with", f"{LONG} Probably too large", "before merging"]
    order += ["5 (vqa)", "rank 5 90%", "crosstalk: energy of the other adapters'"]
    order += ["after merging", "norm: relative", "direction overlap", "An adapter's largest"]
    positions = [out.index(words) for words in order]
    assert positions == sorted(positions)
