"""A diagnosis with invented figures, all different, so that a figure has one possible origin.

The two modules have weights 1 and 3: figures (p, q) have the mean (p + q) / 2 and the weighted mean
(p + 3 q) / 4. Spectra have weights of their own; the root of their sum is a norm.
"""

from __future__ import annotations

from functools import cache

from robustmerge.diagnosis.contributions import Contribution, UpdateSum
from robustmerge.diagnosis.cross_terms import CrossTerms
from robustmerge.diagnosis.direction import MEASURES, Direction, name_measures
from robustmerge.diagnosis.pairs import PairOverlap
from robustmerge.diagnosis.pooled import ModuleLocation
from robustmerge.diagnosis.retention import Retention
from robustmerge.diagnosis.shared_directions import SharedDirections
from robustmerge.diagnosis.signs import Signs
from robustmerge.diagnosis.spectrum import Kind, Spectrum
from robustmerge.diagnosis.survey import Row
from robustmerge.diagnosis.tables import Diagnosis
from robustmerge.diagnosis.unattributed import Unattributed
from robustmerge.diagnosis.values import Values

MODULES = tuple(ModuleLocation(f"m{i}", "language", i, "q_proj", 8, 8, 3) for i in (0, 1))
ADAPTERS = ("vqa", "ocr", "cap")
LONG = "a-name-longer-than-its-column"
MERGES = ("sum", LONG)
WEIGHTS = (1.0, 3.0)
_SPECTRA: tuple[tuple[str, Kind, tuple[float, float], int], ...] = (
    ("vqa", "adapter", (9, 16), 4),  # norms 5, 10, 15
    ("ocr", "adapter", (36, 64), 2),
    ("cap", "adapter", (125, 100), 3),
    ("sum", "merge", (144, 25), 6),  # 13, 2
    (LONG, "merge", (3, 1), 5),
)
_OF_SPECTRA = {  # first share, head to tail, effective rank, change
    "vqa": ((0.5, 0.25), (2.0, 4.0), (3.0, 4.0), (0.01, 0.02)),
    "ocr": ((0.75, 0.65), (5.0, 7.0), (1.2, 1.6), (0.04, 0.06)),
    "cap": ((0.6, 0.5), (4.0, 5.0), (2.0, 2.4), (0.02, 0.04)),
    "sum": ((0.9, 0.9), (20.0, 20.0), (9.0, 9.0), (0.5, 0.5)),
    LONG: ((0.1, 0.1), (1.0, 1.0), (1.0, 1.0), (0.001, 0.001)),
}
_CONTRIBUTIONS = {  # crosstalk, cut
    "vqa": ((1.0, 3.0), (0.2, 0.6)),
    "ocr": ((0.1, 0.3), (0.9, 0.7)),
    "cap": ((4.0, 4.0), (0.1, 0.1)),
}
_KURTOSIS = {"vqa": (-1.2, 0.3, 7.0), "ocr": (0.5, 2.0, 8.0), "cap": (-0.04, 0.1, 9.0)}
_PAIRS = {  # cosine, inputs, outputs, A cosine
    ("vqa", "ocr"): ((0.0, 0.2), (0.1, 0.3), (0.02, 0.04), (0.8, 1.0)),
    ("vqa", "cap"): ((-0.2, -0.1), (0.4, 0.6), (0.06, 0.06), (0.5, 0.5)),
    ("ocr", "cap"): ((0.6, 0.2), (0.3, 0.3), (0.01, 0.01), (0.6, 0.6)),
}
_ENERGY = {  # tasks, recombined, cross, outside
    "sum": ((0.5, 0.9), (0.2, 0.08), (0.2, 0.0), (0.1, 0.02)),
    LONG: ((0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (0.4, 0.4)),
}
_RETENTION = {
    "sum": {"vqa": (0.4, 0.8), "ocr": (0.9, 0.9), "cap": (0.2, 0.2)},
    LONG: {"vqa": (1.0, 1.0), "ocr": (1.2, 1.2), "cap": (1.4, 1.4)},
}
_OVERLAPS = {  # answer, both, both matched and ratio of vqa; ocr has 0.03 more and cap 0.06
    ("sum", "largest"): (0.87, 0.47, 0.57, 0.67),
    ("sum", "rest"): (0.37, 0.07, 0.17, 0.27),
    (LONG, "largest"): (0.77, 0.36, 0.56, 1.17),
    (LONG, "rest"): (0.41, 0.11, 0.21, 0.31),
}


@cache
def invented() -> Diagnosis:
    """Return the diagnosis of three adapters and two merges of them."""
    rows = [*_before(0), *_before(1), *_after(0), *_after(1)]
    return Diagnosis.of(rows, MODULES, adapters=ADAPTERS, merged=MERGES, base="base")


def _before(i: int) -> list[Row]:
    module, weight = f"m{i}", WEIGHTS[i]
    rows: list[Row] = []
    for name, kind, weights, rank in _SPECTRA:
        share, gap, effective, change = (x[i] for x in _OF_SPECTRA[name])
        rows.append(
            Spectrum(
                *(module, name, kind, rank, weights[i] ** 0.5, share, gap, effective),
                *(1.0, change, float(weights[i]), (weights[i] ** 0.5,)),
            )
        )
    for name, (crosstalk, cut) in _CONTRIBUTIONS.items():
        rows.append(Contribution(module, name, 11.0, cut[i], crosstalk[i], weight))
        A, B, delta = _KURTOSIS[name]
        rows += [
            Values(module, name, "A", 1.0, A),
            Values(module, name, "B", 1.0, B),
            Values(module, name, "delta", 1.0, delta),
        ]
    for (first, second), (cosine, inputs, outputs, A) in _PAIRS.items():
        chances = (0.05, 0.07) if second == "cap" else (0.01, 0.03)
        rows.append(
            PairOverlap(
                *(module, first, second, cosine[i], inputs[i], chances[0], outputs[i], chances[1]),
                *(A[i], 0.4, 0.3, weight),
            )
        )
    rows += [
        Signs(module, (0.2, 0.4)[i], (0.3, 0.5)[i], weight),
        SharedDirections(module, "input", (10, 12)[i], 0.9, 0.5, (1, 2)[i], (0.1, 0.3)[i]),
        SharedDirections(module, "output", 7, 0.4, 0.5, 0, 0.0),
        CrossTerms(module, (1.0, 3.0)[i], (0.3, 0.7)[i], (1.0, 5.0)[i], weight),
        UpdateSum(module, 3, 7.0, 0.1, (0.5, 0.9)[i], 6.0, (0.3, 0.7)[i], 5, 8, weight),
    ]
    return rows


def _after(i: int) -> list[Row]:
    module, weight = f"m{i}", WEIGHTS[i]
    rows: list[Row] = [
        Unattributed(module, merge, *(x[i] for x in parts), weight)
        for merge, parts in _ENERGY.items()
    ]
    for merge, coefficients in _RETENTION.items():
        for name, coefficient in coefficients.items():
            rows.append(Retention(module, name, merge, coefficient[i], 0.5, 1.0, 1.0, 1.0, weight))
    for t, name in enumerate(ADAPTERS):
        for merge in MERGES:
            for part in ("largest", "rest"):
                figures = {
                    **name_measures([0.99] * len(MEASURES)),
                    **_overlap(merge, part, 0.03 * t),
                }
                rows.append(
                    Direction(
                        **figures,
                        module=module,
                        adapter=name,
                        merged=merge,
                        part=part,
                        repeated=merge == LONG,
                        weight=weight,
                    )
                )
    return rows


def _overlap(merge: str, part: str, more: float) -> dict[str, float]:
    names = ("answer", "both", "both_matched", "ratio")
    return dict(zip(names, (x + more for x in _OVERLAPS[merge, part]), strict=True))
