"""Cases for the programs: adapters of every kind, what is made of them, and what `check` says.

A case is one adapter, rewritten by `merge ADAPTER -m task-arithmetic`: it must do what the adapter
does. So a program's own answer for the input is the reference for the output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from robustmerge import MergeError, merge
from robustmerge.checks.check import check
from robustmerge.checks.findings import CheckStatus

LAYOUTS = (None, "hf", "hf-old", "flat")
IN_ALL_LAYOUTS = ("language", "tower", "projector")


@dataclass(frozen=True)
class Output:
    """One adapter as it was rewritten.

    Attributes:
        family: The model's family.
        case: What the adapter holds.
        layout: The names that were asked for, None for those of the input.
        base: The base model.
        input: The adapter.
        output: What was made of it, None where it was refused.
        refusal: Why.
    """

    family: str
    case: str
    layout: str | None
    base: Path
    input: Path
    output: Path | None
    refusal: str = ""

    @property
    def label(self) -> str:
        """The layout in words."""
        return self.layout or "as it is"


def rewrite_all(root: Path, target: Path) -> Iterator[Output]:
    """Rewrite every adapter that `peft_client.py make` saved under a folder."""
    for base in sorted(root.glob("*/base")):
        for adapter in sorted(p for p in base.parent.iterdir() if p != base):
            if not (adapter / "adapter_config.json").is_file():
                continue
            family, case = base.parent.name, adapter.name
            for layout in LAYOUTS if case in IN_ALL_LAYOUTS else LAYOUTS[:1]:
                folder = target / family / f"{case}-{layout or 'same'}"
                yield rewrite(Output(family, case, layout, base, adapter, folder))


def rewrite(output: Output) -> Output:
    """Rewrite one adapter; a refusal is a result, too."""
    assert output.output is not None
    try:
        if not output.output.exists():
            merge([output.input], output.output, method="task-arithmetic", layout=output.layout)  # type: ignore[arg-type]
    except MergeError as error:
        return replace(output, output=None, refusal=error.problem)
    return output


def predicted(output: Output, runtime: str) -> str:
    """Return what `check --base … --for …` says: ok, note or fails, with the first failure."""
    assert output.output is not None
    report = check(output.output, str(output.base), [runtime])
    lines = [line for line in report.lines if line.finding.verdict is CheckStatus.FAILS]
    if lines:
        return f"fails: {lines[0].check}"
    notes = [line for line in report.lines if line.finding.verdict is CheckStatus.NOTE]
    return f"note: {notes[0].check}" if notes else "ok"


def agrees(prediction: str, seen: str) -> bool:
    """Decide whether a prediction is true: it fails exactly where the program loses something."""
    return prediction.startswith("fails") != (is_as_input(seen) and "in part" not in seen)


def is_as_input(seen: str) -> bool:
    """Decide whether an output does what its input does, or all that its input should."""
    return seen.startswith(("as the input", "whole"))


def refusal(error: str) -> str:
    """Return a program's error in a line of a table, without the folders of this machine."""
    return f"refused: {re.sub(r'[^ ]*/', '', error)[:160]}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
