"""Whether several adapters can be merged, as `robustmerge show` prints it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..checks.compare import SHARED, UNEVEN, UNRELATED, FactorSimilarity, Verdict, compare_factors
from ..checks.contents import Contents
from ..checks.summary import AdapterSummary
from ..engine.obstacles import Obstacle, find_obstacles
from .rows import LabeledRow, listed, print_rows

_FACTORS = "factor-wise methods (robustmerge, average, ties on factors)"
_PRODUCTS = "methods on the updates (task-arithmetic, robustmerge-paper)"
_WORDS: dict[Verdict, tuple[str, str]] = {
    "shared": ("shared initialization", f"{_FACTORS} mean something here"),
    "rotated": (
        "the same row spaces in other coordinates",
        f"entries do not correspond: prefer {_PRODUCTS}",
    ),
    "independent": ("independent initializations", f"prefer {_PRODUCTS}"),
    "unclear": (
        f"unclear, between {UNRELATED:g} (unrelated) and {SHARED:g} (shared)",
        f"compare {_FACTORS} with {_PRODUCTS}",
    ),
    "mixed": ("some adapters share an initialization, some do not", f"prefer {_PRODUCTS}"),
}
_NO = LabeledRow("merge", "no", "red")
_MOST_SHOWN = 8


@dataclass(frozen=True)
class AdapterSet:
    """Several adapters.

    Attributes:
        labels: What the user called them.
        obstacles: Why they are not merged as they are; None where one of them is refused.
        likeness: How their A's compare, None where they cannot be compared.
        norms: Their norms, None where one is refused.
    """

    labels: tuple[str, ...]
    obstacles: tuple[Obstacle, ...] | None
    likeness: FactorSimilarity | None
    norms: tuple[float, ...] | None

    @property
    def command(self) -> str:
        """The command that merges them, '' where none does."""
        if self.obstacles is None or any(not o.option for o in self.obstacles):
            return ""
        options = [o.option for o in self.obstacles]
        return " ".join(["robustmerge merge", shlex.join(self.labels), "-o OUT", *options])

    def record(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        like, obstacles = self.likeness, self.obstacles
        return {
            "mergeable": obstacles == (),
            "obstacles": [asdict(o) | {"error": str(o.error)} for o in obstacles or ()],
            "command": self.command,
            "initialization": asdict(like) | {"verdict": like.verdict} if like else None,
        }

    def print(self, console: Console) -> None:
        """Print it, as a block like an adapter's."""
        console.print("together", style="bold")
        print_rows(console, [*self._merge(), *self._initialization(), *self._norms()])
        if self.likeness and self.likeness.verdict == "mixed" and len(self.labels) <= _MOST_SHOWN:
            console.print()
            console.print(_matrix(self.likeness, self.labels))

    def _merge(self) -> list[LabeledRow]:
        if self.obstacles is None:
            return [LabeledRow("merge", "no: an adapter is refused", "red")]
        if not self.obstacles:
            return [LabeledRow("merge", "yes, as they are", "green")]
        answer = LabeledRow("merge", "only with options", "yellow") if self.command else _NO
        reasons = listed("", [str(o.error) for o in self.obstacles])
        return [answer, *reasons, *([LabeledRow("", self.command)] if self.command else [])]

    def _initialization(self) -> list[LabeledRow]:
        like = self.likeness
        if like is None:
            return [LabeledRow("A's", "not comparable: no module in common")] if self.norms else []
        words, advice = _WORDS[like.verdict]
        over = f"over {like.modules} modules"
        if like.modules < like.of:
            over = f"over {like.modules} of {like.of} modules, evenly spaced"
        return [
            LabeledRow("A's", words),
            LabeledRow("", f"{_figures(like)}\n{over}"),
            LabeledRow("", advice),
        ]

    def _norms(self) -> list[LabeledRow]:
        if not self.norms or min(self.norms) == 0:
            return []
        ratio = max(self.norms) / min(self.norms)
        if ratio < UNEVEN:
            return [LabeledRow("norms", f"even: the largest is {ratio:.2f} times the smallest")]
        even = ",".join(f"{min(self.norms) / n:.2g}" for n in self.norms)
        return [
            LabeledRow(
                "norms", f"uneven: the largest is {ratio:.1f} times the smallest and wins in a sum"
            ),
            LabeledRow("", f"--weights {even} makes them even"),
        ]


def compare(contents: Sequence[Contents], facts: Sequence[AdapterSummary]) -> AdapterSet:
    """Compare the adapters, as far as none of them is refused."""
    labels = tuple(each.label for each in facts)
    adapters = [c.adapter for c in contents if c.adapter is not None]
    norms = tuple(f.norm for f in facts if f.norm is not None)
    if len(norms) < len(facts):
        return AdapterSet(labels, None, None, None)
    return AdapterSet(labels, find_obstacles(labels), compare_factors(adapters), norms)


def _figures(like: FactorSimilarity) -> str:
    """Write means over modules, with their range over several pairs."""
    cosines = [p.cosine for p in like.pairs if p.cosine is not None]
    rows = [p.row_spaces for p in like.pairs]
    chance = sum(p.chance for p in like.pairs) / len(like.pairs)
    entries = "entries: not comparable, the ranks differ"
    if cosines:
        entries = f"cosine of entries {_range(cosines)} (unrelated: 0)"
    return f"{entries}\ncosine of row spaces {_range(rows)} (unrelated: {chance:.2f})"


def _range(values: Sequence[float]) -> str:
    low, high = _rounded(min(values)), _rounded(max(values))
    return low if low == high else f"{low} to {high}"


def _rounded(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # + 0.0: no minus before a zero


def _matrix(like: FactorSimilarity, labels: Sequence[str]) -> Table:
    """Make the table of the cosines of every two adapters' A's."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    made.add_column("  cosine of entries")
    cells = {
        (p.first, p.second): "–" if p.cosine is None else _rounded(p.cosine) for p in like.pairs
    }
    for j in range(len(labels)):
        made.add_column(str(j + 1), justify="right")
    for i, label in enumerate(labels):
        row = ["1" if i == j else cells[min(i, j), max(i, j)] for j in range(len(labels))]
        made.add_row(Text(f"  {i + 1} {label}"), *row)
    return made
