"""What `robustmerge diagnose` prints. Imports torch, so it is imported late."""

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
from ..errors import writing
from .diagnosis_tables import LEGENDS, adapters, fates, wholes
from .diagnosis_words import before
from .rows import LabeledRow, print_rows
from .show_merge import progress_bar

Write = Callable[[Diagnosis], str]
_COLORS = {"good": "green", "note": "", "bad": "yellow"}


def run(
    sources: Sequence[str], merged: Sequence[str], base: str | None, workers: int | None
) -> Diagnosis:
    """Take the adapters apart, with a progress bar on stderr."""
    with progress_bar(f"looking at {len(sources)} adapters") as progress:
        return diagnose(sources, merged, base, workers=workers, progress=progress)


def writer(output: Path | None, kind: str | None) -> Write | None:
    """What writes the file or folder of this kind and says so; None where nothing is asked for.

    Raises:
        ModuleNotFoundError: The kind needs the plotting library, which is not installed.
    """
    if output is None:
        return None
    if kind == "json":
        return lambda found: _write_tables(found, output)
    from ..diagnosis.report import files

    def write(found: Diagnosis) -> str:
        files.write(found, output, cast(files.Format, kind))
        return f"report: {output}"

    return write


def give(found: Diagnosis, write: Write | None, *, as_json: bool) -> None:
    """Write what is to be written, and print the tables or a summary."""
    said = write(found) if write else None
    if as_json:
        print(_record(found))
        return
    summary(found)
    if said:
        print(f"\n{said}")


def _record(found: Diagnosis) -> str:
    sentences = [asdict(said) for said in make_verdict(found)]
    return json.dumps({"verdict": sentences, **found.to_dict()}, allow_nan=False)


def _write_tables(found: Diagnosis, output: Path) -> str:
    with writing(output):
        output.write_text(_record(found) + "\n", encoding="utf-8")
    return f"all tables: {output}"


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
        print_rows(console, [LabeledRow("", " ".join(LEGENDS[name].split()), "dim")])


def _verdict(found: Diagnosis) -> list[LabeledRow]:
    rows: list[LabeledRow] = []
    last = ""
    for said in make_verdict(found):
        name = "" if said.subject == last else said.subject
        rows.append(LabeledRow(name, said.text, _COLORS[said.level]))
        last = said.subject
    return rows


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
