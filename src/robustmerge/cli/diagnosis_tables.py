"""The tables that `robustmerge diagnose` prints, one row for each adapter or merge."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ..diagnosis.pooled import Estimate, Pooled
from ..diagnosis.tables import Diagnosis
from ..diagnosis.verdict import total_norms

_SHORT = 16  # of a name in a table
LEGENDS = {
    "adapters": """\
σ_1²: energy in the largest direction. kurt.: excess kurtosis of the values (uniform -1.2, Gaussian
0). crosstalk: energy of the others' answers to its inputs, over its own. cut: share of it within a
sum cut to the adapters' rank.""",
    "wholes": """\
size: norm over the adapters' mean norm. kept: coefficient of an adapter in the merge, mean and
least. Shares of the merge's energy: in combinations of the updates; in single adapters' directions
beyond those; in outputs of one that answer to inputs of another; outside of all.""",
    "fates": """\
Of an adapter's directions, the largest (1st) and the rest. answer: cosine of the merge's answer to
their inputs with theirs. index: cosine of u vᵀ with that of the same place in the merge; match:
under the best matching. ratio: of singular values, by index. ~: singular values repeat, and
directions are not unique.""",
}
_FATES = {"answer": "answer", "index": "both", "match": "both_matched", "ratio": "ratio"}


def adapters(found: Diagnosis) -> Table:
    """One row for each adapter."""
    table = _table("adapter", "norm", "σ_1²", "eff. rank", "kurt. A", "kurt. B", "crosstalk", "cut")
    norms = total_norms(found)
    spectra = {p.words["update"]: p for p in found.pooled("spectra")}
    heard = {p.words["adapter"]: p for p in found.pooled("heard")}
    shapes = {(p.words["adapter"], p.words["matrix"]): p for p in found.pooled("values")}
    for name in found.adapters:
        table.add_row(
            _name(name),
            f"{norms[name]:.3g}",
            _figure(spectra[name], "first_share", ".0%", weighted=True),
            _figure(spectra[name], "effective_rank", ".1f"),
            _figure(shapes.get((name, "A")), "kurtosis", ".1f"),
            _figure(shapes.get((name, "B")), "kurtosis", ".1f"),
            _figure(heard[name], "crosstalk", ".2g", weighted=True),
            _figure(heard[name], "cut", ".0%", weighted=True),
        )
    return table


def wholes(found: Diagnosis) -> Table:
    """One row for each merge: size, what it keeps, and whose it is."""
    table = _table("merge", "size", "kept", "least", "", "tasks", "recomb.", "cross", "outside")
    norms = total_norms(found)
    mean = sum(norms[name] for name in found.adapters) / len(found.adapters)
    noise = {p.words["merged"]: p for p in found.pooled("noise")}
    for merge in found.merged:
        kept = {
            p.words["adapter"]: p["coefficient"].weighted
            for p in found.pooled("kept")
            if p.words["merged"] == merge and "coefficient" in p.figures
        }
        least = min(kept, key=kept.__getitem__, default="–")
        table.add_row(
            _name(merge),
            f"{norms[merge] / mean:.2f}" if mean else "–",
            _number(sum(kept.values()) / len(kept), ".2f") if kept else "–",
            _number(kept[least], ".2f") if kept else "–",
            _name(least, 8),
            *(
                _figure(noise[merge], part, ".0%", weighted=True)
                for part in ("tasks", "recombined", "cross", "outside")
            ),
        )
    return table


def fates(found: Diagnosis) -> Table:
    """One row for each merge: what became of directions, on average over the adapters."""
    table = _table("merge", *(f"{n}\n{p}" for n in _FATES for p in ("1st", "rest")))
    for merge in found.merged:
        rows = [p for p in found.pooled("directions") if p.words["merged"] == merge]
        parts = {w: [p for p in rows if p.words["part"] == w] for w in ("largest", "rest")}
        if not parts["largest"]:
            table.add_row(_name(merge))
            continue
        repeated = _mean(rows, "repeated") > 0.5
        cells = []
        for name in _FATES.values():
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
    """A number in few digits; what they leave of a small one is no "-0"."""
    text = format(value, form)
    return text if any(digit in text for digit in "123456789") else text.removeprefix("-")


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", caption_justify="left")
    table.add_column(f"  {first}")
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _name(name: str, most: int = _SHORT) -> Text:
    short = name if len(name) <= most else f"…{name[1 - most :]}"
    return Text(f"  {short}" if most == _SHORT else short)
