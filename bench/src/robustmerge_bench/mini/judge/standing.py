"""A family's models summed up and compared: what tables show and gates look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from ..runs.job import SCALES
from .board import Entry, Family
from .resample import Resamples
from .summary import Summary, summarize
from .versus import Duel, duels

SCALE_ORDER = tuple(SCALES)


@dataclass(frozen=True)
class Row:
    """A merge in a table."""

    entry: Entry
    summary: Summary


@dataclass(frozen=True)
class Section:
    """Merges of one scale protocol and rank, which may be compared.

    Attributes:
        scale: The protocol.
        rank: The rank.
        rows: The merges, best seen average first.
        seen: The tasks that the average is over.
    """

    scale: str
    rank: str
    rows: tuple[Row, ...]
    seen: tuple[str, ...]

    @cached_property
    def duels(self) -> tuple[Duel, ...]:
        """Every two merges by the seen average. Takes seconds where there are many."""
        return duels({row.entry.label: row.entry.scores for row in self.rows}, self.seen)


@dataclass(frozen=True)
class Standing:
    """A family's models.

    Attributes:
        family: What was measured.
        zero_shot: The base.
        experts: Every seen task's own expert.
        joint: The adapter trained on all tasks.
        sections: The merges.
    """

    family: Family
    zero_shot: Summary
    experts: Summary
    joint: Summary | None
    sections: tuple[Section, ...]

    def section(self, scale: str, rank: str) -> Section | None:
        """The merges of this protocol and rank, if there are any."""
        found = (s for s in self.sections if (s.scale, s.rank) == (scale, rank))
        return next(found, None)


def stand(family: Family, *, draws: int = 2000) -> Standing:
    """Sum up and compare."""
    seen, unseen = family.seen, family.unseen
    items = {task: scores.shape[1] for task, scores in family.zero_shot.items()}
    resamples = Resamples(items, len(family.seeds), draws=draws)
    base, own = resamples.means(family.zero_shot), resamples.means(family.experts)

    def row(entry: Entry) -> Row:
        return Row(entry, summarize(resamples.means(entry.scores), seen, unseen, base, own))

    keys = {(entry.scale, entry.rank) for entry in family.merges}
    sections = tuple(
        Section(scale, rank, _best_first(map(row, _entries(family, scale, rank))), seen)
        for scale, rank in sorted(keys, key=lambda k: (SCALE_ORDER.index(k[0]), k[1] != "input"))
    )
    joint = resamples.means(family.joint) if family.joint else None
    return Standing(
        family,
        summarize(base, seen, unseen, base, own),
        summarize(own, seen, (), base, own),
        summarize(joint, seen, unseen, base, own) if joint else None,
        sections,
    )


def _entries(family: Family, scale: str, rank: str) -> list[Entry]:
    return [entry for entry in family.merges if (entry.scale, entry.rank) == (scale, rank)]


def _best_first(rows: Iterable[Row]) -> tuple[Row, ...]:
    return tuple(sorted(rows, key=lambda row: -row.summary.seen.value))
