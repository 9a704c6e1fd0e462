"""What `robustmerge check` prints. Imports torch, so it is imported late."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby

from rich.console import Console

from ..checks.check import CheckLine, CheckReport, check
from ..checks.findings import CheckStatus, Finding
from .rows import LabeledRow, print_rows

_COLORS = {CheckStatus.OK: "green", CheckStatus.NOTE: "yellow", CheckStatus.FAILS: "red"}


def run(source: str, base: str | None, asked: Sequence[str], *, as_json: bool) -> int:
    """Check, print one line for each check, and return the exit code."""
    checked = check(source, base, asked)
    if as_json:
        print(json.dumps(_record(checked), indent=2))
    else:
        _print(checked, asked, base)
    return 0 if checked.holds else 1


def _record(checked: CheckReport) -> dict[str, object]:
    return {
        "adapter": checked.label,
        "holds": checked.holds,
        "modules": checked.modules,
        "ranks": list(checked.ranks),
        "checks": [
            {
                "subject": line.subject,
                "check": line.check,
                "verdict": line.finding.verdict.value,
                "counts": line.counts,
                "text": line.finding.text,
                "advice": line.finding.advice,
            }
            for line in checked.lines
        ],
    }


def _print(checked: CheckReport, asked: Sequence[str], base: str | None) -> None:
    console = Console(highlight=False, emoji=False)
    ranks = ", ".join(map(str, checked.ranks))
    console.print(
        f"{checked.label}: {checked.modules} modules, rank {ranks}\n", markup=False, soft_wrap=True
    )
    rows = []
    for subject, lines in groupby(checked.lines, key=lambda line: line.subject):
        for i, finding in enumerate(_condensed(list(lines))):
            mark = finding.verdict.value, _COLORS[finding.verdict]
            rows.append(LabeledRow("" if i else subject, finding.text, mark=mark))
            rows += [LabeledRow("", f"→ {finding.advice}", "dim")] if finding.advice else []
    print_rows(console, rows)
    if base is None:
        console.print("\nnot checked: the names and shapes in the base; --base MODEL does")
    others = {line.subject for line in checked.lines if not line.counts and _fails(line)}
    if others and checked.holds and not asked:
        console.print("\nexit code 0: without --for only peft counts")


def _condensed(lines: list[CheckLine]) -> list[Finding]:
    """What holds and has nothing to say becomes one line, or none beside others."""
    said = [line.finding for line in lines if line.finding.text]
    return said or [Finding(CheckStatus.OK, f"its {len(lines)} limits hold")]


def _fails(line: CheckLine) -> bool:
    return line.finding.verdict is CheckStatus.FAILS
