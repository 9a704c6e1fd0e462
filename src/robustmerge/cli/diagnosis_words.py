"""What `robustmerge diagnose` says of adapters before a merge, line by line."""

from __future__ import annotations

from collections.abc import Sequence

from ..diagnosis.pooled import Pooled
from ..diagnosis.tables import Diagnosis
from ..diagnosis.verdict import total_norms
from .rows import LabeledRow


def before(found: Diagnosis) -> list[LabeledRow]:
    """The most telling figures, all over the whole model."""
    rows = [LabeledRow("sizes", _sizes(found)), LabeledRow("spectra", _spectra(found))]
    if len(found.adapters) < 2:
        return rows
    pairs = found.pooled("pairs")
    (signs,) = found.pooled("signs")
    (apart,) = found.pooled("apart")
    rows += [
        LabeledRow("cosine", _range(pairs, "cosine")),
        LabeledRow("inputs", _range(pairs, "inputs", 3) + _chance(pairs, "inputs_chance")),
        LabeledRow("outputs", _range(pairs, "outputs", 3) + _chance(pairs, "outputs_chance")),
        LabeledRow("A's", f"cosine of entries {_range(pairs, 'A_cosine')}"),
    ]
    if "opposed" in signs.figures:
        opposed, chance = signs["opposed"].weighted, signs["chance"].weighted
        rows.append(
            LabeledRow(
                "signs", f"{opposed:.0%} of the mass against the elected sign (chance {chance:.0%})"
            )
        )
    rows += [
        LabeledRow("crowding" if i == 0 else "", line) for i, line in enumerate(_crowding(found))
    ]
    if "cosine" in apart.figures:
        rows.append(
            LabeledRow(
                "factors",
                f"summed apart, cosine {apart['cosine'].weighted:.2f} to the sum of updates, cross "
                f"terms {apart['ratio'].weighted:.2g} times its energy",
            )
        )
    rows.append(LabeledRow("sum", _sum(found)))
    return rows


def _sizes(found: Diagnosis) -> str:
    norms = {name: norm for name, norm in total_norms(found).items() if name in found.adapters}
    least, most = min(norms, key=norms.__getitem__), max(norms, key=norms.__getitem__)
    said = f"norm {norms[least]:.3g} ({least}) to {norms[most]:.3g} ({most})"
    if found.base is None:
        return said
    changes = [p["change"].median for p in found.pooled("spectra") if p.words["kind"] == "adapter"]
    return f"{said}; {min(changes):.1%} to {max(changes):.1%} of the base's weights"


def _spectra(found: Diagnosis) -> str:
    adapters = [p for p in found.pooled("spectra") if p.words["kind"] == "adapter"]
    ranks = max(p["rank"].high for p in adapters)
    shares = [p["first_share"].weighted for p in adapters if "first_share" in p.figures]
    if not shares:
        return "all updates are zero"
    effective = [p["effective_rank"].mean for p in adapters]
    gaps = [p["head_to_tail"].median for p in adapters if "head_to_tail" in p.figures]
    return (
        f"the largest of {ranks:.0f} directions holds {_span(shares, '.0%')} of the energy; "
        f"σ_1/σ_r {_span(gaps, '.2g')}, effective rank {_span(effective, '.1f')}"
    )


def _crowding(found: Diagnosis) -> list[str]:
    lines = []
    for side in found.pooled("crowding"):
        if "largest" in side.figures:
            lines.append(
                f"{side['shared'].mean:.1f} of {side['directions'].mean:.0f} {side.words['side']} "
                f"directions shared beyond chance, with {side['energy'].mean:.0%} of the energy"
            )
    return lines


def _sum(found: Diagnosis) -> str:
    (total,) = found.pooled("total")
    if "at_input_rank" not in total.figures:
        return "zero"
    return (
        f"energy {total['coherence'].weighted:.2f} times the adapters' together; a cut to their "
        f"rank keeps {total['at_input_rank'].weighted:.0%}, rank {total['rank_90'].high:.0f} keeps "
        f"90%, rank {total['rank_99'].high:.0f} 99% (in 9 of 10 modules)"
    )


def _range(pairs: Sequence[Pooled], name: str, digits: int = 2) -> str:
    """Least and most over all pairs, and which they are."""
    found = {
        f"{p.words['first']} and {p.words['second']}": p[name].mean
        for p in pairs
        if name in p.figures
    }
    if not found:
        return "not defined"
    least, most = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
    low, high = (f"{round(found[x], digits) + 0.0:.{digits}f}" for x in (least, most))
    return low if low == high else f"{low} ({least}) to {high} ({most})"


def _chance(pairs: Sequence[Pooled], name: str) -> str:
    found = [p[name].mean for p in pairs if name in p.figures]
    return f"; chance {max(found):.2g}" if found else ""


def _span(values: Sequence[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
