"""The figures of adapters before a merge that `robustmerge diagnose` prints line by line."""

from __future__ import annotations

from collections.abc import Sequence

from ..diagnosis.pooled import Pooled
from ..diagnosis.tables import Diagnosis
from ..diagnosis.verdict import total_norms
from .rows import LabeledRow, listed


def describe_adapters(diagnosis: Diagnosis) -> list[LabeledRow]:
    """Return the most important figures, all over the whole model."""
    rows = [
        LabeledRow("norms", _norms(diagnosis)),
        LabeledRow("spectra", _spectra(diagnosis)),
    ]
    if len(diagnosis.adapters) < 2:
        return rows
    pairs = diagnosis.pooled("pairs")
    (signs,) = diagnosis.pooled("signs")
    (cross_terms,) = diagnosis.pooled("apart")
    rows += [
        LabeledRow("cosine", _pair_range(pairs, "cosine")),
        LabeledRow(
            "input overlap", _pair_range(pairs, "inputs", 3) + _chance(pairs, "inputs_chance")
        ),
        LabeledRow(
            "output overlap", _pair_range(pairs, "outputs", 3) + _chance(pairs, "outputs_chance")
        ),
        LabeledRow("cosine of A", _pair_range(pairs, "A_cosine")),
    ]
    if "opposed" in signs.figures:
        opposed, chance = signs["opposed"].weighted, signs["chance"].weighted
        text = (
            f"{opposed:.0%} of the weight mass disagrees with the majority sign; by chance "
            f"{chance:.0%}"
        )
        rows.append(LabeledRow("sign conflict", text))
    rows += listed("shared directions", _shared_directions(diagnosis))
    if "cosine" in cross_terms.figures:
        text = (
            f"the product of summed factors has cosine {cross_terms['cosine'].weighted:.2f} with "
            f"the exact sum; cross terms have {cross_terms['ratio'].weighted:.2g} times its energy"
        )
        rows.append(LabeledRow("factor-wise sum", text))
    rows.append(LabeledRow("exact sum", _sum(diagnosis)))
    return rows


def _norms(diagnosis: Diagnosis) -> str:
    every = total_norms(diagnosis)
    norms = {name: every[name] for name in diagnosis.adapters}
    least, most = min(norms, key=norms.__getitem__), max(norms, key=norms.__getitem__)
    text = f"{norms[least]:.3g} ({least}) to {norms[most]:.3g} ({most})"
    if diagnosis.base is None:
        return text
    spectra = [p for p in diagnosis.pooled("spectra") if p.words["kind"] == "adapter"]
    changes = [p["change"].median for p in spectra]
    return f"{text}; {min(changes):.1%} to {max(changes):.1%} of the base's weights"


def _spectra(diagnosis: Diagnosis) -> str:
    adapters = [p for p in diagnosis.pooled("spectra") if p.words["kind"] == "adapter"]
    ranks = max(p["rank"].high for p in adapters)
    shares = [p["first_share"].weighted for p in adapters if "first_share" in p.figures]
    if not shares:
        return "all updates are zero"
    effective = [p["effective_rank"].mean for p in adapters]
    ratios = [p["head_to_tail"].median for p in adapters if "head_to_tail" in p.figures]
    return (
        f"the largest of {ranks:.0f} directions has {_span(shares, '.0%')} of the energy; "
        f"σ_1/σ_r {_span(ratios, '.2g')}; effective rank {_span(effective, '.1f')}"
    )


def _shared_directions(diagnosis: Diagnosis) -> list[str]:
    return [
        f"{side['shared'].mean:.1f} of {side['directions'].mean:.0f} {side.words['side']} "
        f"directions, beyond chance, with {side['energy'].mean:.0%} of the energy"
        for side in diagnosis.pooled("crowding")
        if "largest" in side.figures
    ]


def _sum(diagnosis: Diagnosis) -> str:
    (whole,) = diagnosis.pooled("total")
    if "at_input_rank" not in whole.figures:
        return "zero"
    return (
        f"{whole['coherence'].weighted:.2f} times the adapters' total energy; of it the adapters' "
        f"rank keeps {whole['at_input_rank'].weighted:.0%}, rank {whole['rank_90'].high:.0f} 90%, "
        f"rank {whole['rank_99'].high:.0f} 99% (in 9 of 10 modules)"
    )


def _pair_range(pairs: Sequence[Pooled], name: str, digits: int = 2) -> str:
    """Return the lowest and highest value over all pairs, with their pairs."""
    values = {
        f"{p.words['first']} and {p.words['second']}": p[name].mean
        for p in pairs
        if name in p.figures
    }
    if not values:
        return "not defined"
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    low, high = (f"{round(values[x], digits) + 0.0:.{digits}f}" for x in (least, most))
    return low if low == high else f"{low} ({least}) to {high} ({most})"


def _chance(pairs: Sequence[Pooled], name: str) -> str:
    values = [p[name].mean for p in pairs if name in p.figures]
    return f"; by chance {max(values):.2g}" if values else ""


def _span(values: Sequence[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
