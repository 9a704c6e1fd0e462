"""`robustmerge check`: whether an adapter fits its base and the runtimes that are to load it."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from ..checks.findings import CheckStatus, Finding, ok
from .rows import LabeledRow, print_rows

if TYPE_CHECKING:  # it imports torch
    from ..checks.check import CheckLine, CheckReport

RuntimeName = Literal["peft", "vllm", "sglang", "llama.cpp"]
"""The names of `checks.runtimes.RUNTIMES`, which takes torch to import; a test holds them to it."""

_COLORS = {CheckStatus.OK: "green", CheckStatus.NOTE: "yellow", CheckStatus.FAILS: "red"}


def check(
    output: str,
    /,
    *,
    base: str | None = None,
    for_: Annotated[list[RuntimeName] | None, Parameter(name="--for", negative="")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Check that an adapter loads, whole and unchanged, where it is to be used.

    Its files are compared with the hashes in merge.json, its settings with its tensors, and its
    tensors with the base model. Exit code 1 if a check fails.

    Args:
        output: Adapter folder or Hub id.
        base: The base model, a folder or Hub id. Only its headers are read.
        for_: A runtime that is to load the adapter; may be given several times. Without it all are
            checked, and only peft counts for the exit code.
        json: Print as JSON.
    """
    from ..checks.check import check as check_adapter
    from ..live.landing import try_landing

    report = check_adapter(output, base, for_ or [], try_landing)
    if json:
        print(json_format.dumps(_record(report), indent=2))
    else:
        _print(report, for_ or [], base)
    return 0 if report.holds else 1


def _record(report: CheckReport) -> dict[str, object]:
    return {
        "adapter": report.label,
        "holds": report.holds,
        "modules": report.modules,
        "ranks": list(report.ranks),
        "checks": [
            {
                "subject": line.subject,
                "check": line.check,
                "verdict": line.finding.verdict.value,
                "counts": line.counts,
                "text": line.finding.text,
                "advice": line.finding.advice,
            }
            for line in report.lines
        ],
    }


def _print(report: CheckReport, runtimes: Sequence[str], base: str | None) -> None:
    from ..checks.runtimes import version_note

    console = Console(highlight=False, emoji=False)
    ranks = ", ".join(map(str, report.ranks))
    console.print(
        f"{report.label}: {report.modules} modules, rank {ranks}\n", markup=False, soft_wrap=True
    )
    rows = []
    for subject, lines in groupby(report.lines, key=lambda line: line.subject):
        for i, finding in enumerate(_condensed(list(lines))):
            mark = finding.verdict.value, _COLORS[finding.verdict]
            rows.append(LabeledRow("" if i else subject, finding.text, mark=mark))
            rows += [LabeledRow("", f"→ {finding.advice}", "dim")] if finding.advice else []
    print_rows(console, rows)
    if base is None:
        console.print("\nnot checked: the names and shapes in the base; --base MODEL does")
    others = {line.subject for line in report.lines if not line.counts and _fails(line)}
    if others and report.holds and not runtimes:
        console.print("\nexit code 0: without --for only peft counts")
    if (not runtimes or "peft" in runtimes) and (note := version_note()):
        Console(stderr=True, soft_wrap=True).print(f"note: {note}", markup=False)


def _condensed(lines: list[CheckLine]) -> list[Finding]:
    """Return the findings with a text; where none has one, a finding that says that all hold."""
    findings = [line.finding for line in lines if line.finding.text]
    return findings or [ok(f"its {len(lines)} limits hold")]


def _fails(line: CheckLine) -> bool:
    return line.finding.verdict is CheckStatus.FAILS
