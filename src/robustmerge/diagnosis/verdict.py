"""What follows from the figures, in sentences a user can act on, each with the figures behind it.

The rules are few. Their thresholds stand below, each with its reason: arithmetic, or the laptop
benchmark (docs/minibench.md; eight tiny experts of one start of A, 25 methods at full rank), on
which the scales and the order of merges were read off. The bounds on size were then right for all
merges of five other sets that they call too large or too small (docs/analysis.md); the order
nothing else has confirmed. No sentence says which task a merge will lose: there no figure of the
weights told it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..checks.compare import Verdict as InitVerdict
from ..errors import few
from .initialization import initialization
from .pooled import Pooled
from .tables import Diagnosis

Level = Literal["good", "note", "bad"]

ALIKE = 0.5
"""From this cosine on two updates are more one than two: their sum has √3 times the norm of one,
and who adds them counts one task twice."""
OPPOSED = -0.1
"""Down to this cosine updates are as good as orthogonal: |cosines| of trained adapters of unlike
tasks are below 0.05 on the laptop benchmark, and a tenth cancels a tenth."""
APART = 0.8
"""From this cosine of the factors' product of sums on, factor-wise merging is the sum in another
scale: 0.88 on the laptop benchmark, where the best merge at input rank is factor-wise."""
NOT_APART = 0.5
"""Below this cosine less than a quarter of its energy is the sum's. Unrelated A's have 1/√T."""
UNEVEN = 2.0
"""From this ratio of whole norms on, the largest has four times the energy of the smallest."""
CUT = 0.95
"""Below this share of the sum's energy a cut to input rank costs accuracy: at 0.87 four tuned
merges of the laptop benchmark lose 6 to 20 points between full and input rank."""
LOUD = 1.8
"""From this mean coefficient times √T on a merge is probably too large. With orthogonal updates 1
is the norm of one adapter. All 13 merges of the laptop benchmark that are louder at full rank, 26
of 27 at input rank, and all 29 of other sets were best at less (docs/analysis.md)."""
FAINT = 0.55
"""Below this mean coefficient times √T a merge is probably too small: all 13 such merges there, all
19 at input rank, and all 17 of other sets were best at more."""
USUAL = (0.7, 2.2)
"""Mean coefficient times √T of about four in five tuned merges, there and on five other sets."""
NOBODY = 0.5
"""From this share on most of a merge is of no adapter."""
LEFT_OUT = 0.5
"""Below this share of the mean coefficient an adapter is left out."""
CLOSE = 0.03
"""Merges whose answers differ by less are not ordered. Over 41 tuned merges of the laptop benchmark
the answer of the largest direction goes with the seen average (rank correlation 0.84), mostly since
both grow with rank: between merges of one rank it is not beyond chance (docs/analysis.md)."""

_BEGAN: Mapping[InitVerdict, str] = {
    "shared": "began as one",
    "rotated": "have one row space in different coordinates",
    "independent": "are unrelated",
    "unclear": "are neither alike nor unrelated",
    "mixed": "began as one in some adapters only",
}
_UNRELATED = "-m task-arithmetic --rank full --scale norm-matched"  # exact, whatever the A's are


@dataclass(frozen=True)
class Sentence:
    """One thing to know.

    Attributes:
        subject: What it is about: together, factors, sizes, start, merges, or one merge's name.
        level: good, note or bad.
        text: The sentence.
        evidence: The figures it rests on.
    """

    subject: str
    level: Level
    text: str
    evidence: Mapping[str, float]


def verdict(found: Diagnosis) -> tuple[Sentence, ...]:
    """Everything that follows, the most important first."""
    if len(found.adapters) < 2:
        return tuple(s for merge in found.merged for s in _of_merge(found, merge))
    sentences = [*_together(found), *_factors(found), *_sizes(found), *_start(found)]
    sentences += [s for merge in found.merged for s in _of_merge(found, merge)]
    return (*sentences, *_order(found))


def whole_norms(found: Diagnosis) -> dict[str, float]:
    """Norm of every adapter's and every merge's update over all modules."""
    energies = dict.fromkeys((*found.adapters, *found.merged), 0.0)
    for row in found.spectra:
        energies[row.update] += row.weight
    return {name: energy**0.5 for name, energy in energies.items()}


def _together(found: Diagnosis) -> Iterator[Sentence]:
    pairs = [p for p in found.pooled("pairs") if "cosine" in p.figures]
    if not pairs:
        yield Sentence("together", "bad", "All but one of the updates are zero.", {})
        return
    least, most = (f(pairs, key=lambda p: p["cosine"].weighted) for f in (min, max))
    low, high = least["cosine"].weighted, most["cosine"].weighted
    evidence = {"least cosine": low, "greatest cosine": high}
    if low < OPPOSED:
        yield Sentence(
            "together",
            "bad",
            f"{_both(least)} fight: their updates oppose each other, and a sum loses part of both.",
            evidence,
        )
    if high > ALIKE:
        yield Sentence(
            "together",
            "note",
            f"{_both(most)} are much the same update; a sum has it twice. Halve their weights.",
            evidence,
        )
    if low >= OPPOSED and high <= ALIKE:
        yield Sentence(
            "together",
            "good",
            "They can be merged: no two updates fight, a sum holds each of them whole.",
            evidence,
        )


def _factors(found: Diagnosis) -> Iterator[Sentence]:
    (apart,) = found.pooled("apart")
    if "cosine" not in apart.figures:
        return
    cosine, gain = apart["cosine"].weighted, apart["gain"].weighted
    like = initialization(found)
    began = _BEGAN[like.verdict] if like else "are of different modules"
    evidence = {"cosine": cosine, "cross over own energy": apart["ratio"].weighted}
    if cosine >= APART:
        text = (
            f"A's {began}, and factor-wise methods (robustmerge, average, ties on factors) merge "
            f"what they should; sums of factors are {gain:.2g} times too large."
        )
    elif cosine < NOT_APART:
        text = (
            f"Do not merge factors apart (robustmerge, average, peft-linear): A's {began}, and "
            "most of the result would be one adapter's outputs on another's inputs."
        )
    else:
        text = f"Prefer methods on the updates to factor-wise ones: A's {began}, and not closely."
    level: Level = "good" if cosine >= APART else "bad" if cosine < NOT_APART else "note"
    yield Sentence("factors", level, text, evidence)


def _sizes(found: Diagnosis) -> Iterator[Sentence]:
    norms = {name: n for name, n in whole_norms(found).items() if name in found.adapters and n}
    if len(norms) < 2:
        return
    least, most = min(norms, key=norms.__getitem__), max(norms, key=norms.__getitem__)
    ratio = norms[most] / norms[least]
    if ratio >= UNEVEN:
        text = (
            f"{most} is {ratio:.1f} times as large as {least} and is heard most in a sum; "
            "--balance norms draws them together."
        )
        yield Sentence("sizes", "note", text, {"ratio of norms": ratio})


def _start(found: Diagnosis) -> Iterator[Sentence]:
    """A method, rank and scale to begin with: what is best on the laptop benchmark without tuning.

    Over three seeds with a shared start of A, and over three without (docs/minibench.md).
    """
    (apart,), (total,) = found.pooled("apart"), found.pooled("total")
    if "at_input_rank" not in total.figures:
        return
    kept, rank = total["at_input_rank"].weighted, total["rank_99"].high
    evidence = {"energy at input rank": kept, "rank for 99%": rank}
    shared = "cosine" in apart.figures and apart["cosine"].weighted >= APART
    full = "-m ocap --rank full" if shared else _UNRELATED
    text = f"Begin with {full}; rank {rank:.0f} holds 99% of a sum."
    yield Sentence("start", "note", text, evidence)
    text = f"Input rank keeps {kept:.0%} of a sum's energy"
    if kept >= CUT:
        text += " and may do."
    elif shared:
        text += ", which costs; if it must be, -m do-merging --scale norm-matched."
    else:
        text += ", which costs: ask for as much rank as you can serve; if it must be, -m tsv-m."
    yield Sentence("start", "note", text, evidence)


def _of_merge(found: Diagnosis, merge: str) -> Iterator[Sentence]:
    kept = {
        p.words["adapter"]: p["coefficient"].weighted
        for p in found.pooled("kept")
        if p.words["merged"] == merge and "coefficient" in p.figures
    }
    (noise,) = (p for p in found.pooled("noise") if p.words["merged"] == merge)
    if not kept or "tasks" not in noise.figures:
        yield Sentence(merge, "bad", "There is nothing in it.", {})
        return
    mean, own = sum(kept.values()) / len(kept), noise["tasks"].weighted
    strangers = noise["cross"].weighted + noise["outside"].weighted
    evidence = {"mean coefficient": mean, "energy of the adapters": own, "of nobody": strangers}
    loudness = mean * len(kept) ** 0.5
    if 0 < loudness < FAINT or loudness >= LOUD:
        word = "small" if loudness < FAINT else "large"
        least, most = (bound / loudness for bound in USUAL)
        most = most if loudness < FAINT else min(most, 1.0)  # too large at 1 as it is
        text = (
            f"Probably too {word}: it has {mean:.2g} of each adapter. Try it at scales of "
            f"{least:.2g} to {most:.2g}."
        )
        yield Sentence(merge, "bad", text, evidence)
    if mean < 0:
        text = f"It runs against its adapters: it has {mean:.2g} of each."
        yield Sentence(merge, "bad", text, evidence)
    if noise["outside"].weighted >= NOBODY:
        text = f"{noise['outside'].weighted:.0%} of its energy is in no adapter's directions."
        yield Sentence(merge, "note", text, evidence)
    lost = [name for name, value in kept.items() if value < LEFT_OUT * mean]
    if lost and mean > 0:
        yield Sentence(merge, "bad", f"Left out: {few(lost)}.", {n: kept[n] for n in lost})


def _order(found: Diagnosis) -> Iterator[Sentence]:
    """Which of several merges to try first, where their ranks differ."""
    ranks = {
        merge: max((row.rank for row in found.spectra if row.update == merge), default=0)
        for merge in found.merged
    }
    if len(set(ranks.values())) < 2:
        return
    answers: dict[str, list[float]] = {merge: [] for merge in found.merged}
    for row in found.pooled("directions"):
        if row.words["part"] == "largest":
            answers[row.words["merged"]].append(row["answer"].mean)
    means = {merge: sum(x) / len(x) for merge, x in answers.items() if x}
    if len(means) < 2:
        return
    best = max(means.values())
    first = [merge for merge in sorted(means, key=means.__getitem__) if means[merge] > best - CLOSE]
    text = f"Of these merges, put to a fair scale, try first: {', '.join(reversed(first))}."
    yield Sentence("merges", "note", text, {f"answer of {m}": x for m, x in means.items()})


def _both(pair: Pooled) -> str:
    return f"{pair.words['first']} and {pair.words['second']}"
