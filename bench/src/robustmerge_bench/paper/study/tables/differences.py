"""How much better every contender is than every other, on the same samples."""

from __future__ import annotations

from ...tasks import TASKS
from .grid import TITLES, Cell, Grid, Head, Line
from .summary import Standing

ALPHA = 0.05


def differences(standing: Standing, name: str) -> Grid:
    """How much better the line's contender is than the column's, on the same samples."""
    pairs = standing.pairs[name]
    labels = list(dict.fromkeys(label for pair in pairs for label in pair))
    kinds = {s.entry.label: s.entry.named.kind for s in standing.summaries}
    lines = []
    for one in labels:
        cells = []
        for other in labels:
            found, sign = (pairs[one, other], 1) if (one, other) in pairs else (None, 1)
            if (other, one) in pairs:
                found, sign = pairs[other, one], -1
            if found is None:
                cells.append(Cell(""))
                continue
            cells.append(_cell(sign * found.mean, found.p))
        lines.append(Line(one, kinds[one], tuple(cells)))
    where = f"{TITLES[name]}, the mean" if name in TITLES else TASKS[name].title
    lead = (
        "The line's minus the column's score, on the same samples. *: more than chance, p < 0.05 "
        f"by paired bootstrap{_correction(len(pairs))}."
    )
    out = [s.entry.label for s in standing.summaries if s.entry.label not in labels]
    if out:
        lead += f" Without scores of all these tasks: {', '.join(out)}."
    heads = tuple(Head(label) for label in labels)
    return Grid(f"differences-{name}", f"Differences: {where}", lead, heads, tuple(lines))


def _cell(mean: float, p: float) -> Cell:
    """A difference, and a star where it is told; one that is not to be seen is none."""
    text = f"{mean:+.2f}"
    if text in ("+0.00", "-0.00"):
        return Cell("0.00")
    return Cell(text, "*" if p < ALPHA else "")


def _correction(pairs: int) -> str:
    return f" with Holm's correction for {pairs} comparisons" if pairs > 1 else ""
