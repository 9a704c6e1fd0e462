"""The tables that `robustmerge diagnose` prints, one row for each adapter or merge."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ..diagnosis.pooled import Estimate, Pooled
from ..diagnosis.tables import Diagnosis
from ..diagnosis.verdict import total_norms

_SHORT = 16  # characters of a name in a table
LEGENDS = {
    "adapters": """\
energy in σ_1: share of the largest direction. kurtosis: excess kurtosis of the values (uniform
-1.2, Gaussian 0). crosstalk: energy of the other adapters' outputs on its inputs, over its own.
after truncation: share of its energy that can survive when the sum is truncated to the adapters'
rank.""",
    "after merging": """\
norm: relative to the adapters' mean norm. coef.: coefficient of an adapter in the merge, mean and
least. Shares of the merge's energy: in the span of the updates; recombined from single adapters'
directions; in cross terms, one adapter's outputs on another's inputs; unattributed, outside of all
adapters' directions.""",
    "direction overlap": """\
An adapter's largest direction (1st) and the rest. output: cosine of the merge's output on their
inputs with the adapter's. index: cosine of u vᵀ with that of the same rank in the merge; match: by
the best matching. ratio: of singular values, by index. ~: singular values repeat, so that single
directions are not unique.""",
}
_OVERLAPS = {"output": "answer", "index": "both", "match": "both_matched", "ratio": "ratio"}
"""Headings, and columns of the table `directions`."""


def adapter_table(diagnosis: Diagnosis) -> Table:
    """Return one row for each adapter."""
    table = _table(
        *("adapter", "norm", "energy\nin σ_1", "effective\nrank", "kurtosis\nA", "kurtosis\nB"),
        *("crosstalk", "after\ntruncation"),
    )
    norms = total_norms(diagnosis)
    spectra = {p.words["update"]: p for p in diagnosis.pooled("spectra")}
    contributions = {p.words["adapter"]: p for p in diagnosis.pooled("heard")}
    values = {(p.words["adapter"], p.words["matrix"]): p for p in diagnosis.pooled("values")}
    for name in diagnosis.adapters:
        table.add_row(
            _name(name),
            f"{norms[name]:.3g}",
            _figure(spectra[name], "first_share", ".0%", weighted=True),
            _figure(spectra[name], "effective_rank", ".1f"),
            _figure(values.get((name, "A")), "kurtosis", ".1f"),
            _figure(values.get((name, "B")), "kurtosis", ".1f"),
            _figure(contributions[name], "crosstalk", ".2g", weighted=True),
            _figure(contributions[name], "cut", ".0%", weighted=True),
        )
    return table


def merge_table(diagnosis: Diagnosis) -> Table:
    """Return one row for each merge: size, retention, and origin of its energy."""
    table = _table(
        *("merge", "norm", "coef.\nmean", "coef.\nleast", "adapter"),
        *("in\nspan", "recom-\nbined", "cross\nterms", "unattri-\nbuted"),
    )
    norms = total_norms(diagnosis)
    mean = sum(norms[name] for name in diagnosis.adapters) / len(diagnosis.adapters)
    energy = {p.words["merged"]: p for p in diagnosis.pooled("noise")}
    for merge in diagnosis.merged:
        coefficients = {
            p.words["adapter"]: p["coefficient"].weighted
            for p in diagnosis.pooled("kept")
            if p.words["merged"] == merge and "coefficient" in p.figures
        }
        least = min(coefficients, key=coefficients.__getitem__, default="–")
        average = sum(coefficients.values()) / len(coefficients) if coefficients else None
        table.add_row(
            _name(merge),
            f"{norms[merge] / mean:.2f}" if mean else "–",
            "–" if average is None else _number(average, ".2f"),
            _number(coefficients[least], ".2f") if coefficients else "–",
            _name(least, 8),
            *(
                _figure(energy[merge], part, ".0%", weighted=True)
                for part in ("tasks", "recombined", "cross", "outside")
            ),
        )
    return table


def overlap_table(diagnosis: Diagnosis) -> Table:
    """Return one row for each merge: overlap of directions, averaged over the adapters."""
    table = _table("merge", *(f"{name}\n{part}" for name in _OVERLAPS for part in ("1st", "rest")))
    for merge in diagnosis.merged:
        rows = [p for p in diagnosis.pooled("directions") if p.words["merged"] == merge]
        parts = {w: [p for p in rows if p.words["part"] == w] for w in ("largest", "rest")}
        if not parts["largest"]:
            table.add_row(_name(merge))
            continue
        repeated = _mean(rows, "repeated") > 0.5
        cells = []
        for name in _OVERLAPS.values():
            for part in parts.values():
                mark = "~" if repeated and name != "answer" else ""
                cells.append(mark + _number(_mean(part, name), ".2f") if part else "–")
        table.add_row(_name(merge), *cells)
    return table


def _mean(rows: Sequence[Pooled], name: str) -> float:
    return sum(row[name].mean for row in rows) / len(rows)


def _figure(row: Pooled | None, name: str, form: str, *, weighted: bool = False) -> str:
    if row is None or name not in row.figures:
        return "–"
    figure: Estimate = row[name]
    return _number(figure.weighted if weighted else figure.mean, form)


def _number(value: float, form: str) -> str:
    """Return a number in few digits, without the sign of "-0"."""
    text = format(value, form)
    return text if any(digit in text for digit in "123456789") else text.removeprefix("-")


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", caption_justify="left")
    table.add_column(f"  {first}")
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _name(name: str, most: int = _SHORT) -> Text:
    """Return a name of at most so many characters, cut at its start."""
    short = name if len(name) <= most else f"…{name[1 - most :]}"
    return Text(f"  {short}" if most == _SHORT else short)
