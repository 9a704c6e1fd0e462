"""Output of `robustmerge diagnose`. Imports torch, so it is imported late."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from rich.console import Console

from ..api import diagnose
from ..diagnosis.tables import Diagnosis
from ..diagnosis.verdict import make_verdict
from ..diagnosis.verdict_texts import SUBJECTS
from ..files import check_report, expand_user, write_report
from .diagnosis_tables import LEGENDS, adapter_table, merge_table, overlap_table
from .diagnosis_words import describe_adapters
from .rows import LabeledRow, print_rows
from .show_merge import progress_bar

Write = Callable[[Diagnosis], str]
_MARK = '{"verdict": ['
"""Beginning of all tables as JSON."""

_COLORS = {"good": "green", "note": "", "bad": "yellow"}


def run(
    sources: Sequence[str], merged: Sequence[str], base: str | None, workers: int | None
) -> Diagnosis:
    """Diagnose the adapters, with a progress bar on stderr."""
    with progress_bar(f"diagnosing {len(sources)} adapters") as progress:
        return diagnose(sources, merged, base, workers=workers, progress=progress)


def make_writer(output: Path | None, kind: str | None) -> Write | None:
    """Return a function that writes the output and returns a message; None without an output.

    Raises:
        ModuleNotFoundError: the plotting library is not installed.
    """
    if output is None:
        return None
    output = expand_user(output)
    if kind == "json":
        check_report(output, _MARK)
        return lambda diagnosis: _write_tables(diagnosis, output)
    from ..diagnosis.report import files

    files.check_output(output, cast(files.Format, kind))

    def write(diagnosis: Diagnosis) -> str:
        files.write_report(diagnosis, output, cast(files.Format, kind))
        return f"report: {output}"

    return write


def show(diagnosis: Diagnosis, write: Write | None, *, as_json: bool) -> None:
    """Write the output, if any, and print all tables as JSON or a summary."""
    message = write(diagnosis) if write else None
    if as_json:
        print(_record(diagnosis))
        return
    print_summary(diagnosis)
    if message:
        print(f"\n{message}")


def _record(diagnosis: Diagnosis) -> str:
    sentences = [asdict(sentence) for sentence in make_verdict(diagnosis)]
    return json.dumps({"verdict": sentences, **diagnosis.to_dict()}, allow_nan=False)


def _write_tables(diagnosis: Diagnosis, output: Path) -> str:
    write_report(output, _record(diagnosis) + "\n", _MARK)
    return f"all tables: {output}"


def print_summary(diagnosis: Diagnosis) -> None:
    """Print the verdict, and the most important figures over the whole model."""
    console = Console(highlight=False, emoji=False)
    console.print(", ".join(diagnosis.count_inputs()), style="bold")
    for note in diagnosis.notes:
        console.print(f"note: {note}", markup=False, style="dim")
    console.print()
    print_rows(console, _verdict(diagnosis))
    console.print("\nbefore merging", style="bold")
    print_rows(console, describe_adapters(diagnosis))
    tables = {"adapters": adapter_table(diagnosis)}
    if diagnosis.merged:
        tables["after merging"] = merge_table(diagnosis)
        tables["direction overlap"] = overlap_table(diagnosis)
    for title, table in tables.items():
        console.print(f"\n{title}", style="bold")
        console.print(table)
        print_rows(console, [LabeledRow("", " ".join(LEGENDS[title].split()), "dim")])


def _verdict(diagnosis: Diagnosis) -> list[LabeledRow]:
    rows: list[LabeledRow] = []
    last = ""
    for sentence in make_verdict(diagnosis):
        name = SUBJECTS.get(sentence.subject, sentence.subject)
        rows.append(
            LabeledRow("" if name == last else name, sentence.text, _COLORS[sentence.level])
        )
        last = name
    return rows
