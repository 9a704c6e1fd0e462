"""The tables of a report: adapters, and merges side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..pooled import Pooled
from ..tables import Diagnosis
from ..verdict import total_norms


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes:
        title: Its heading.
        lead: The meaning of its columns.
        columns: Their names, the first for the names of the rows.
        rows: One cell for each column.
    """

    title: str
    lead: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def make_tables(diagnosis: Diagnosis) -> tuple[TextTable, ...]:
    """Return the table of adapters, and that of merges if there are any."""
    adapters = _adapter_table(diagnosis)
    return (adapters, _merge_table(diagnosis)) if diagnosis.merged else (adapters,)


def _adapter_table(diagnosis: Diagnosis) -> TextTable:
    with_base = diagnosis.base is not None  # or the change is undefined
    norms = total_norms(diagnosis)
    spectra = {p.words["update"]: p for p in diagnosis.pooled("spectra")}
    contributions = {p.words["adapter"]: p for p in diagnosis.pooled("heard")}
    rows = [
        (
            name,
            f"{norms[name]:.3g}",
            *([_cell([spectra[name]], "change", ".1%")] if with_base else []),
            _cell([spectra[name]], "first_share", ".0%"),
            _cell([spectra[name]], "head_to_tail", ".3g", weighted=False),
            _cell([spectra[name]], "effective_rank", ".1f", weighted=False),
            _cell([contributions[name]], "crosstalk", ".2g"),
            _cell([contributions[name]], "cut", ".0%"),
        )
        for name in diagnosis.adapters
    ]
    return TextTable(
        "Adapters",
        "Norm of the whole update; "
        f"{'change relative to the base; ' if with_base else ''}share of the energy in "
        "the largest direction; largest singular value over the smallest; effective rank; energy "
        "of the other adapters' outputs on its inputs, over its own energy (crosstalk); share of "
        "its energy that can survive when the sum is truncated to the adapters' rank.",
        (
            *("adapter", "norm", *(["change"] if with_base else [])),
            *("energy in σ₁", "σ₁/σᵣ", "effective rank", "crosstalk", "after truncation"),
        ),
        tuple(rows),
    )


def _merge_table(diagnosis: Diagnosis) -> TextTable:
    norms = total_norms(diagnosis)
    mean = sum(norms[name] for name in diagnosis.adapters) / len(diagnosis.adapters)
    energy = {p.words["merged"]: [p] for p in diagnosis.pooled("noise")}
    rows = []
    for merge in diagnosis.merged:
        retention = [p for p in diagnosis.pooled("kept") if p.words["merged"] == merge]
        overlaps = [p for p in diagnosis.pooled("directions") if p.words["merged"] == merge]
        largest, rest = ([p for p in overlaps if p.words["part"] == x] for x in ("largest", "rest"))
        parts = ("tasks", "recombined", "cross", "outside")
        rows.append(
            (
                merge,
                f"{norms[merge] / mean:.2f}" if mean else "–",
                _cell(retention, "coefficient", ".2f"),
                *(_cell(energy[merge], part, ".0%") for part in parts),
                _cell(largest, "answer", ".2f", weighted=False),
                _cell(rest, "answer", ".2f", weighted=False),
                _cell(largest, "both", ".2f", weighted=False),
                _cell(rest, "both", ".2f", weighted=False),
            )
        )
    return TextTable(
        "Merges",
        "Norm over the adapters' mean norm; mean coefficient of the adapters in the merge; shares "
        "of its energy: in the span of the updates, recombined from single adapters' directions, "
        "in cross terms, and unattributed; for the adapters' largest directions and the rest: "
        "cosine of the merge's output with theirs (output), and of singular vectors by index.",
        (
            *("merge", "rel. norm", "coefficient"),
            *("in span", "recombined", "cross terms", "unattributed"),
            *("output, largest", "rest", "index, largest", "rest"),
        ),
        tuple(rows),
    )


def _cell(rows: Sequence[Pooled], name: str, form: str, *, weighted: bool = True) -> str:
    """Return the mean of a figure over these rows as text."""
    values = [
        row[name].weighted if weighted else row[name].mean for row in rows if name in row.figures
    ]
    if not values:
        return "–"
    text = format(sum(values) / len(values), form)
    return text if any(c in text for c in "123456789") else text.removeprefix("-")  # no "-0"
