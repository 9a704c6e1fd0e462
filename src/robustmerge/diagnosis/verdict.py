"""What follows from the figures, in sentences a user can act on, each with the figures behind it.

The rules are few. Their thresholds are below, each with its origin: arithmetic, or the laptop
benchmark (docs/minibench.md; eight tiny experts with one initialization of A, 25 methods at full
rank), on which the scales and the order of merges were fitted. The bounds on size were then right
for all merges of five other sets that they call too large or too small (docs/analysis.md); nothing
else confirms the order. No sentence says which task a merge will lose: no figure of the
weights predicted that on the benchmark. The texts are in `verdict_texts`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..checks.compare import AdapterPair, FactorSimilarity
from ..errors import few
from .pooled import Pooled
from .tables import Diagnosis
from .verdict_texts import INITIALIZATIONS, SENTENCES, Level

DUPLICATE = 0.5
"""Least cosine of two updates that count as one: their sum has √3 times the norm of one, and a sum
counts one task twice."""
OPPOSED = -0.1
"""Below this cosine two updates oppose each other. |Cosines| of trained adapters of unlike tasks
are below 0.05 on the laptop benchmark; -0.1 cancels a tenth."""
FACTOR_WISE_WORKS = 0.8
"""Least cosine of the factors' product of sums with the exact sum at which factor-wise merging is
the sum in another scale: 0.88 on the laptop benchmark, where the best merge at input rank is
factor-wise."""
FACTOR_WISE_FAILS = 0.5
"""Below this cosine less than a quarter of that product's energy is the sum's. Unrelated A's have
1/√T."""
UNEVEN_NORMS = 2.0
"""Least ratio of norms over all modules: the largest has four times the energy of the smallest."""
INPUT_RANK_ENERGY = 0.95
"""Below this share of the sum's energy a truncation to input rank costs accuracy: at 0.87 four
tuned merges of the laptop benchmark lose 6 to 20 points between full and input rank."""
TOO_LARGE = 1.8
"""Least norm ratio (mean coefficient times √T) of a merge that is probably too large. With
orthogonal updates 1 is the norm of one adapter. All 13 merges of the laptop benchmark above it at
full rank, 26 of 27 at input rank, and all 29 of other sets were best at less (docs/analysis.md)."""
TOO_SMALL = 0.55
"""Below this norm ratio a merge is probably too small: all 13 such merges of the laptop benchmark
at full rank, all 19 at input rank, and all 17 of other sets were best at more."""
USUAL = (0.7, 2.2)
"""Norm ratios of about four in five tuned merges, there and on five other sets."""
UNATTRIBUTED = 0.5
"""From this share on most of a merge's energy is in no adapter's directions."""
LEFT_OUT = 0.5
"""Below this share of the mean coefficient an adapter counts as left out."""
CLOSE_ANSWERS = 0.03
"""Merges whose answers differ by less are not ordered. Over 41 tuned merges of the laptop benchmark
the answer of the largest direction correlates with the average of the seen tasks (rank correlation
0.84), mostly since both grow with rank: between merges of one rank it is not beyond chance
(docs/analysis.md)."""

_START = "-m drift --rank full"
"""From files alone and untuned: the best of six sets of the laptop benchmark (docs/ours.md). On the
second world TSV-M or ACE is ahead on seen tasks, behind on unseen ones (docs/midibench.md)."""


@dataclass(frozen=True)
class Sentence:
    """One conclusion.

    Attributes:
        code: Its stable name, a key of `SENTENCES`.
        subject: What it is about: together, factors, sizes, start, merges, or one merge's name.
        level: good, note or bad.
        text: The sentence.
        evidence: The figures it rests on.
    """

    code: str
    subject: str
    level: Level
    text: str
    evidence: Mapping[str, float]


def make_verdict(diagnosis: Diagnosis) -> tuple[Sentence, ...]:
    """Return every sentence that applies, the most important first."""
    merges = [s for merge in diagnosis.merged for s in _judge_merge(diagnosis, merge)]
    zero = _judge_zero(diagnosis)
    if len(diagnosis.adapters) < 2:
        return (*zero, *merges)
    return (
        *zero,
        *_judge_cosines(diagnosis),
        *_judge_factors(diagnosis),
        *_judge_norms(diagnosis),
        *_suggest_start(diagnosis),
        *merges,
        *_suggest_order(diagnosis),
    )


def total_norms(diagnosis: Diagnosis) -> dict[str, float]:
    """Return the norm of every adapter's and every merge's update over all modules."""
    energies = dict.fromkeys((*diagnosis.adapters, *diagnosis.merged), 0.0)
    for row in diagnosis.spectra:
        energies[row.update] += row.weight
    return {name: energy**0.5 for name, energy in energies.items()}


def compare_initializations(diagnosis: Diagnosis) -> FactorSimilarity | None:
    """Compare the A's over all modules, by the rules of `robustmerge show`.

    Row spaces are those of the updates, which are A's unless columns of B are zero or dependent.
    None where no two adapters have a module in common.
    """
    pairs = []
    for group in diagnosis.pooled("pairs"):
        if "inputs" not in group.figures:
            continue
        cosine = group["A_cosine"].mean if "A_cosine" in group.figures else None
        pairs.append(
            AdapterPair(
                diagnosis.adapters.index(group.words["first"]),
                diagnosis.adapters.index(group.words["second"]),
                cosine,
                # The table has squared cosines, `show` compares cosines.
                math.sqrt(group["inputs"].mean),
                math.sqrt(group["inputs_chance"].mean),
            )
        )
    modules = len(diagnosis.modules)
    return FactorSimilarity(modules, modules, tuple(pairs)) if pairs else None


def _sentence(
    code: str, subject: str, evidence: Mapping[str, float], **figures: str | float
) -> Sentence:
    template = SENTENCES[code]
    return Sentence(code, subject, template.level, template.text.format(**figures), evidence)


def _judge_zero(diagnosis: Diagnosis) -> Iterator[Sentence]:
    norms = total_norms(diagnosis)
    measured = {row.update for row in diagnosis.spectra}
    if zero := [name for name in diagnosis.adapters if name in measured and not norms[name]]:
        evidence = {f"norm of {name}": 0.0 for name in zero}
        yield _sentence("zero_updates", "sizes", evidence, adapters=few(zero))


def _judge_cosines(diagnosis: Diagnosis) -> Iterator[Sentence]:
    pairs = [p for p in diagnosis.pooled("pairs") if "cosine" in p.figures]
    if not pairs:
        yield _sentence("at_most_one_update", "together", {})
        return
    lowest, highest = (f(pairs, key=lambda p: p["cosine"].weighted) for f in (min, max))
    low, high = lowest["cosine"].weighted, highest["cosine"].weighted
    evidence = {"least cosine": low, "greatest cosine": high}
    if low < OPPOSED:
        yield _sentence("opposing_updates", "together", evidence, **_pair(lowest))
    if high > DUPLICATE:
        yield _sentence("duplicate_updates", "together", evidence, **_pair(highest))
    if low >= OPPOSED and high <= DUPLICATE:
        yield _sentence("compatible_updates", "together", evidence)


def _pair(pair: Pooled) -> dict[str, str | float]:
    return {
        "first": pair.words["first"],
        "second": pair.words["second"],
        "cosine": pair["cosine"].weighted,
    }


def _judge_factors(diagnosis: Diagnosis) -> Iterator[Sentence]:
    (cross_terms,) = diagnosis.pooled("apart")
    if "cosine" not in cross_terms.figures:
        return
    cosine = cross_terms["cosine"].weighted
    similarity = compare_initializations(diagnosis)
    code = (
        "factor_wise_works"
        if cosine >= FACTOR_WISE_WORKS
        else "factor_wise_fails"
        if cosine < FACTOR_WISE_FAILS
        else "factor_wise_risky"
    )
    yield _sentence(
        code,
        "factors",
        {"cosine": cosine, "cross over own energy": cross_terms["ratio"].weighted},
        initialization=INITIALIZATIONS[similarity.verdict if similarity else None],
        gain=cross_terms["gain"].weighted,
    )


def _judge_norms(diagnosis: Diagnosis) -> Iterator[Sentence]:
    every = total_norms(diagnosis)
    norms = {name: every[name] for name in diagnosis.adapters if every[name]}
    if len(norms) < 2:
        return
    smallest, largest = min(norms, key=norms.__getitem__), max(norms, key=norms.__getitem__)
    ratio = norms[largest] / norms[smallest]
    if ratio >= UNEVEN_NORMS:
        evidence = {"ratio of norms": ratio}
        names = {"smallest": smallest, "largest": largest}
        yield _sentence("uneven_norms", "sizes", evidence, ratio=ratio, **names)


def _suggest_start(diagnosis: Diagnosis) -> Iterator[Sentence]:
    """Suggest method and rank, and say what input rank costs."""
    (whole,) = diagnosis.pooled("total")
    if "at_input_rank" not in whole.figures:
        return
    kept, rank = whole["at_input_rank"].weighted, whole["rank_99"].high
    evidence = {"energy at input rank": kept, "rank for 99%": rank}
    yield _sentence("suggested_method", "start", evidence, options=_START, rank=rank)
    code = "input_rank_suffices" if kept >= INPUT_RANK_ENERGY else "input_rank_costs"
    yield _sentence(code, "start", evidence, kept=kept)


def _judge_merge(diagnosis: Diagnosis, merge: str) -> Iterator[Sentence]:
    coefficients = {
        p.words["adapter"]: p["coefficient"].weighted
        for p in diagnosis.pooled("kept")
        if p.words["merged"] == merge and "coefficient" in p.figures
    }
    (parts,) = (p for p in diagnosis.pooled("noise") if p.words["merged"] == merge)
    if not coefficients or "tasks" not in parts.figures:
        yield _sentence("zero_merge", merge, {})
        return
    mean = sum(coefficients.values()) / len(coefficients)
    outside = parts["outside"].weighted
    evidence = {
        "mean coefficient": mean,
        "energy of the adapters": parts["tasks"].weighted,
        "of nobody": parts["cross"].weighted + outside,
    }
    yield from _judge_size(merge, mean, len(coefficients), evidence)
    if mean < 0:
        yield _sentence("anti_correlated", merge, evidence, mean=mean)
    if outside >= UNATTRIBUTED:
        yield _sentence("unattributed_energy", merge, evidence, outside=outside)
    low = {name: x for name, x in coefficients.items() if x < LEFT_OUT * mean}
    if low and mean > 0:
        yield _sentence("adapters_left_out", merge, low, adapters=few(list(low)))


def _judge_size(
    merge: str, mean: float, count: int, evidence: Mapping[str, float]
) -> Iterator[Sentence]:
    norm_ratio = mean * count**0.5
    if 0 < norm_ratio < TOO_SMALL or norm_ratio >= TOO_LARGE:
        code = "too_small" if norm_ratio < TOO_SMALL else "too_large"
        least, most = (bound / norm_ratio for bound in USUAL)
        if code == "too_large":
            most = min(most, 1.0)  # it is too large as it is
        yield _sentence(code, merge, evidence, mean=mean, least=least, most=most)


def _suggest_order(diagnosis: Diagnosis) -> Iterator[Sentence]:
    """Suggest which of several merges to try first, where their ranks differ."""
    ranks = {
        merge: max((row.rank for row in diagnosis.spectra if row.update == merge), default=0)
        for merge in diagnosis.merged
    }
    if len(set(ranks.values())) < 2:
        return
    answers: dict[str, list[float]] = {merge: [] for merge in diagnosis.merged}
    for row in diagnosis.pooled("directions"):
        if row.words["part"] == "largest":
            answers[row.words["merged"]].append(row["answer"].mean)
    means = {merge: sum(x) / len(x) for merge, x in answers.items() if x}
    if len(means) < 2:
        return
    bound = max(means.values()) - CLOSE_ANSWERS
    best = [merge for merge in sorted(means, key=means.__getitem__) if means[merge] > bound]
    evidence = {f"answer of {merge}": x for merge, x in means.items()}
    yield _sentence("try_first", "merges", evidence, merges=", ".join(reversed(best)))
