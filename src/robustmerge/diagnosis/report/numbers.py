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
        lead: What its columns are.
        columns: Their names, the first that of the rows' names.
        rows: One cell for each column.
    """

    title: str
    lead: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(found: Diagnosis) -> tuple[TextTable, ...]:
    """Adapters, and merges if there are any."""
    return (_adapters(found), _merges(found)) if found.merged else (_adapters(found),)


def _adapters(found: Diagnosis) -> TextTable:
    norms = total_norms(found)
    spectra = {p.words["update"]: p for p in found.pooled("spectra")}
    heard = {p.words["adapter"]: p for p in found.pooled("heard")}
    rows = [
        (
            name,
            f"{norms[name]:.3g}",
            _cell([spectra[name]], "change", ".1%"),
            _cell([spectra[name]], "first_share", ".0%"),
            _cell([spectra[name]], "head_to_tail", ".3g", weighted=False),
            _cell([spectra[name]], "effective_rank", ".1f", weighted=False),
            _cell([heard[name]], "crosstalk", ".2g"),
            _cell([heard[name]], "cut", ".0%"),
        )
        for name in found.adapters
    ]
    return TextTable(
        "The adapters in figures",
        "Norm of the whole update; change of the base's weights; energy in the largest direction; "
        "largest over smallest singular value; effective rank; energy of the others' answers to "
        "its inputs over its own (crosstalk); share of it in a sum cut to the adapters' rank.",
        ("adapter", "norm", "change", "largest", "σ₁/σᵣ", "eff. rank", "crosstalk", "cut"),
        tuple(rows),
    )


def _merges(found: Diagnosis) -> TextTable:
    norms = total_norms(found)
    mean = sum(norms[name] for name in found.adapters) / len(found.adapters)
    noise = {p.words["merged"]: [p] for p in found.pooled("noise")}
    rows = []
    for merge in found.merged:
        held = [p for p in found.pooled("kept") if p.words["merged"] == merge]
        ways = [p for p in found.pooled("directions") if p.words["merged"] == merge]
        largest, rest = ([p for p in ways if p.words["part"] == x] for x in ("largest", "rest"))
        parts = (_cell(noise[merge], x, ".0%") for x in ("tasks", "recombined", "cross", "outside"))
        rows.append(
            (
                merge,
                f"{norms[merge] / mean:.2f}" if mean else "–",
                _cell(held, "coefficient", ".2f"),
                *parts,
                _cell(largest, "answer", ".2f", weighted=False),
                _cell(rest, "answer", ".2f", weighted=False),
                _cell(largest, "both", ".2f", weighted=False),
                _cell(rest, "both", ".2f", weighted=False),
            )
        )
    return TextTable(
        "The merges in figures",
        "Norm over the adapters' mean norm (size); mean coefficient of the adapters (kept); shares "
        "of the energy, as drawn below; of the adapters' largest directions and of the rest: "
        "cosine of the merge's answer with theirs, and similarity of singular vectors by index.",
        (
            *("merge", "size", "kept", "tasks", "recomb.", "cross", "outside"),
            *("answer 1st", "rest", "index 1st", "rest"),
        ),
        tuple(rows),
    )


def _cell(rows: Sequence[Pooled], name: str, form: str, *, weighted: bool = True) -> str:
    """Mean over these rows of a figure."""
    found = [
        row[name].weighted if weighted else row[name].mean for row in rows if name in row.figures
    ]
    if not found:
        return "–"
    text = format(sum(found) / len(found), form)
    return text if any(c in text for c in "123456789") else text.removeprefix("-")
