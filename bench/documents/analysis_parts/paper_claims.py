"""The paper's claims about adapters and directions, each with what chance would give.

Chance for singular values: an update of the same shape and rank with A as it is initialized
(uniform) and B of Gaussian values, none of it trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robustmerge.diagnosis.pooled import ModuleLocation
from robustmerge.diagnosis.tables import Diagnosis

from .benchmark_scores import BenchmarkScores, MeasuredMerge
from .diagnosed_merges import DiagnosedMerge

SIDES = ("left", "right", "both")
SHOWN = ("task-arithmetic", "ties", "dare", "pcb", "iso-c", "tsv-m", "robustmerge")
"""Merges of the table of directions, where they are there."""

SIGNS = (("ties", "magnitude-prune"), ("dare-ties", "dare"))
"""Methods that elect signs, each with the one that keeps the same entries and does not."""

PLACED = (
    *(f"directions.{p}.{s}, mean, task mean" for p in ("largest", "rest") for s in SIDES),
    *(f"directions.{p}.both_matched, mean, task mean" for p in ("largest", "rest")),
    *(f"directions.{p}.answer, mean, task mean" for p in ("largest", "rest")),
    "directions.rest.ratio, mean, task mean",
    "kept.both, weighted, task mean",
)


def of_adapters(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return shapes of values and spectra of every expert, and measures between experts."""
    values = {
        matrix: _each(diagnosis, "values", "kurtosis", matrix=matrix)
        for matrix in ("A", "B", "delta")
    }
    spectra = {
        name: _each(diagnosis, "spectra", name)
        for name in ("head_to_tail", "first_share", "effective_rank")
    }
    pairs = {
        name: [p[name].weighted for p in diagnosis.pooled("pairs")]
        for name in ("cosine", "sign_conflict", "weighted_sign_conflict")
    }
    (signs,) = diagnosis.pooled("signs")
    rank = max(row.rank for row in diagnosis.spectra)
    return {
        "adapters": list(diagnosis.adapters),
        "kurtosis": values,
        "spectra": spectra,
        "chance": chance_spectra(diagnosis.modules, rank),
        "pairs": {name: [min(x), float(np.mean(x)), max(x)] for name, x in pairs.items()},
        "opposed": signs["opposed"].weighted,
        "opposed by chance": signs["chance"].weighted,
    }


def _each(diagnosis: Diagnosis, table: str, figure: str, **words: str) -> list[list[float]]:
    """Return a figure of every adapter: median over modules, 10 and 90 % quantiles."""
    return [
        [p[figure].median, p[figure].low, p[figure].high]
        for p in diagnosis.pooled(table)
        if words.items() <= p.words.items()
    ]


def chance_spectra(
    modules: Sequence[ModuleLocation], rank: int, seed: int = 0
) -> dict[str, list[float]]:
    """Return head to tail and first share of untrained updates: median and quantiles."""
    generator = np.random.default_rng(seed)
    gaps, shares = [], []
    for module in modules:
        A = generator.uniform(-1, 1, (module.d_in, rank))
        B = generator.normal(size=(module.d_out, rank))
        # B A^T has the singular values of its triangular factors' product.
        S = np.linalg.svd(np.linalg.qr(B).R @ np.linalg.qr(A).R.T, compute_uv=False)
        gaps.append(S[0] / S[-1])
        shares.append(S[0] ** 2 / (S**2).sum())
    quantiles = [0.5, 0.1, 0.9]
    return {
        "head_to_tail": np.quantile(gaps, quantiles).tolist(),
        "first_share": np.quantile(shares, quantiles).tolist(),
    }


def directions_kept(
    merges: Sequence[MeasuredMerge], diagnosed: Sequence[DiagnosedMerge]
) -> list[dict[str, Any]]:
    """Return how well-known merges keep the largest directions and the rest."""
    rows = []
    for label in SHOWN:
        for each, merge in zip(merges, diagnosed, strict=True):
            if each.which.label == label:
                rows.append(
                    {
                        "merge": label,
                        **{
                            f"{part} {measure}": merge.flat()[
                                f"directions.{part}.{measure}, mean, task mean"
                            ]
                            for part in ("largest", "rest")
                            for measure in (*SIDES, "both_matched", "answer")
                        },
                    }
                )
    return rows


def count_largest_kept_better(diagnosed: Sequence[DiagnosedMerge]) -> dict[str, int]:
    """Count the merges that keep the largest directions better than the rest, by measure."""
    return {
        measure: sum(
            t.flat()[f"directions.largest.{measure}, mean, task mean"]
            > t.flat()[f"directions.rest.{measure}, mean, task mean"]
            for t in diagnosed
        )
        for measure in (*SIDES, "both_matched", "answer")
    }


def places(
    merges: Sequence[MeasuredMerge], diagnosed: Sequence[DiagnosedMerge], label: str = "robustmerge"
) -> dict[str, Any]:
    """Return a merge's place by every figure about directions, at one norm; 1 is the greatest."""
    flat = [t.at(1 / t.whole["size"]).flat() for t in diagnosed]
    where = [each.which.label for each in merges].index(label)
    places_by_figure = {}
    for name in PLACED:
        values = np.array([merge[name] for merge in flat])
        places_by_figure[name] = {
            "value": float(values[where]),
            "place": int((values > values[where] + 1e-4).sum()) + 1,
            "of": len(merges),
            "median": float(np.median(values)),
            "best": merges[int(values.argmax())].which.label,
            "greatest": float(values.max()),
        }
    return places_by_figure


def election(benchmark: BenchmarkScores) -> list[dict[str, Any]]:
    """Return tuned scores with and without electing signs, at full rank."""
    view = benchmark.view
    (section,) = (s for s in view["sections"] if (s["scale"], s["rank"]) == ("sweep", "full"))
    rows = {row["merge"]: row for row in section["rows"]}
    rows_of_pairs = []
    for elects, plain in SIGNS:
        if elects in rows and plain in rows:
            sign = section["beats"][elects][section["order"].index(plain)]
            rows_of_pairs.append(
                {
                    "elects": elects,
                    "plain": plain,
                    "with": rows[elects]["seen"],
                    "without": rows[plain]["seen"],
                    "told apart": sign != ".",
                }
            )
    return rows_of_pairs
