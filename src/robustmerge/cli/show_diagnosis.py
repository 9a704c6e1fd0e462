"""What `robustmerge diagnose` prints. Imports torch, so it is imported late."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from ..api import diagnose
from ..diagnosis.tables import Diagnosis
from ..diagnosis.verdict import verdict
from ..errors import writing
from .diagnosis_tables import LEGENDS, adapters, fates, wholes
from .diagnosis_words import before
from .rows import Row, print_rows
from .show_merge import progress_bar

_COLORS = {"good": "green", "note": "", "bad": "yellow"}


def run(
    sources: Sequence[str], merged: Sequence[str], base: str | None, workers: int | None
) -> Diagnosis:
    """Take the adapters apart, with a progress bar on stderr."""
    with progress_bar(f"looking at {len(sources)} adapters") as progress:
        return diagnose(sources, merged, base, workers=workers, progress=progress)


def give(found: Diagnosis, output: Path | None, *, as_json: bool) -> None:
    """Write the tables to the file, if there is to be one, and print them or a summary."""
    sentences = [asdict(said) for said in verdict(found)]
    record = json.dumps({"verdict": sentences, **found.to_dict()}, allow_nan=False)
    if output is not None:
        with writing(output):
            output.write_text(record + "\n", encoding="utf-8")
    if as_json:
        print(record)
        return
    summary(found)
    if output is not None:
        print(f"\nall tables: {output}")


def summary(found: Diagnosis) -> None:
    """Print what follows, and the most telling figures over the whole model."""
    console = Console(highlight=False, emoji=False)
    counts = [f"{len(found.modules)} modules", _count(len(found.adapters), "adapter")]
    counts += [_count(len(found.merged), "merge")] if found.merged else []
    console.print(", ".join(counts), style="bold")
    for note in found.notes:
        console.print(f"note: {note}", markup=False, style="dim")
    console.print()
    print_rows(console, _verdict(found))
    console.print("\nbefore merging", style="bold")
    print_rows(console, before(found))
    tables = [("adapters", adapters(found))]
    tables += [("wholes", wholes(found)), ("fates", fates(found))] if found.merged else []
    for name, table in tables:
        console.print("\nafter merging" if name == "wholes" else "", style="bold")
        console.print(table)
        print_rows(console, [Row("", " ".join(LEGENDS[name].split()), "dim")])


def _verdict(found: Diagnosis) -> list[Row]:
    rows: list[Row] = []
    last = ""
    for said in verdict(found):
        name = "" if said.subject == last else said.subject
        rows.append(Row(name, said.text, _COLORS[said.level]))
        last = said.subject
    return rows


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
