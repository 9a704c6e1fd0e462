"""Every sentence of the verdict: its code, its level, and the template of its text.

Codes are stable: scripts that read `robustmerge diagnose --json` may compare them. Texts may be
reworded. `verdict` decides which sentences apply and fills in the figures in braces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from ..checks.compare import Verdict as Initialization

Level = Literal["good", "note", "bad"]


class SentenceTemplate(NamedTuple):
    """Level and text of a sentence.

    Attributes:
        level: good, note or bad.
        text: The sentence, with the names of its figures in braces.
    """

    level: Level
    text: str


SENTENCES: Mapping[str, SentenceTemplate] = {
    # The updates together.
    "zero_updates": SentenceTemplate(
        "bad",
        "No update at all: {adapters}. It counts as an adapter all the same, so that a mean "
        "shrinks the others; leave it out, or use another checkpoint.",
    ),
    "at_most_one_update": SentenceTemplate("bad", "All but one of the updates are zero."),
    "opposing_updates": SentenceTemplate(
        "bad", "{first} and {second} oppose each other (cosine {cosine:.2f}): a sum cancels part "
        "of both."
    ),
    "duplicate_updates": SentenceTemplate(
        "note", "{first} and {second} are nearly the same update (cosine {cosine:.2f}), so a sum "
        "contains it twice. Halve their weights."
    ),
    "compatible_updates": SentenceTemplate(
        "good", "These adapters can be merged: no two updates oppose each other, so a sum contains "
        "all of them."
    ),
    # A and B merged separately.
    "factor_wise_works": SentenceTemplate(
        "good", "Factor-wise methods (robustmerge, average, ties on factors) are possible here: "
        "the A's {initialization}, and the product of summed factors is close to the sum of "
        "updates, only {gain:.2g} times too large."
    ),
    "factor_wise_risky": SentenceTemplate(
        "note", "Prefer methods that merge updates over factor-wise ones: the A's "
        "{initialization}, and cross terms would be a large part of the result."
    ),
    "factor_wise_fails": SentenceTemplate(
        "bad", "Do not merge A and B separately (robustmerge, average, peft-linear): the A's "
        "{initialization}, and most of the result would be cross terms between adapters."
    ),
    # Sizes.
    "uneven_norms": SentenceTemplate(
        "note", "{largest} is {ratio:.1f} times as large as {smallest} and dominates the sum; "
        "--balance norms makes their sizes more equal."
    ),
    # Where to start.
    "suggested_method": SentenceTemplate(
        "note", "Start with {options}. Rank {rank:.0f} is enough for 99% of a sum's energy."
    ),
    "input_rank_suffices": SentenceTemplate(
        "note", "Input rank keeps {kept:.0%} of a sum's energy, which is usually enough."
    ),
    "input_rank_costs": SentenceTemplate(
        "note", "Input rank keeps only {kept:.0%} of a sum's energy, which can cost accuracy: try "
        "the largest rank that you can serve. -m drift loses least there, since it fits the rank "
        "instead of cutting to it."
    ),
    # One merge.
    "zero_merge": SentenceTemplate("bad", "The merged update is zero."),
    "too_small": SentenceTemplate(
        "bad", "Probably too small: the mean coefficient of its adapters is {mean:.2g}. Try "
        "multiplying it by {least:.2g} to {most:.2g}."
    ),
    "too_large": SentenceTemplate(
        "bad", "Probably too large: the mean coefficient of its adapters is {mean:.2g}. Try "
        "multiplying it by {least:.2g} to {most:.2g}."
    ),
    "anti_correlated": SentenceTemplate(
        "bad", "It is anti-correlated with its adapters (mean coefficient {mean:.2g})."
    ),
    "unattributed_energy": SentenceTemplate(
        "note", "{outside:.0%} of its energy is unattributed: in no adapter's directions."
    ),
    "adapters_left_out": SentenceTemplate(
        "bad", "It retains little of {adapters}: less than half of the mean coefficient."
    ),
    # Several merges.
    "try_first": SentenceTemplate(
        "note", "Of these merges, each at a suitable scale, try first: {merges}."
    ),
}  # fmt: skip

INITIALIZATIONS: Mapping[Initialization | None, str] = {
    "shared": "share an initialization",
    "rotated": "have one row space in different coordinates",
    "independent": "are unrelated",
    "unclear": "are neither alike nor unrelated",
    "mixed": "share an initialization in some adapters only",
    None: "cannot be compared",
}
"""How the A's compare, for the sentences on factor-wise methods; None if no two adapters
have a nonzero module in common."""

SUBJECTS: Mapping[str, str] = {
    "together": "compatibility",
    "factors": "factor-wise merging",
    "sizes": "norms",
    "start": "suggested start",
    "merges": "merges to try",
}
"""How people read the subjects of sentences; the keys are those in JSON, and merges have names."""

EVIDENCE: Mapping[str, str] = {
    "least cosine": "lowest cosine",
    "greatest cosine": "highest cosine",
    "cosine": "cosine of factor-wise and exact sum",
    "cross over own energy": "energy of cross terms / exact sum",
    "ratio of norms": "norm ratio",
    "energy at input rank": "energy at input rank",
    "rank for 99%": "rank for 99%",
    "mean coefficient": "mean coefficient",
    "energy of the adapters": "energy in the adapters' span",
    "of nobody": "energy in cross terms or unattributed",
}
"""How people read the names of figures of `evidence`; the keys are those in JSON."""


def label_evidence(name: str) -> str:
    """Return how people read the name of a figure; merges and adapters keep their names."""
    return EVIDENCE.get(name) or name.replace("answer of ", "output cosine of ")
