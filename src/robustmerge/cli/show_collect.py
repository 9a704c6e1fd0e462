"""What `robustmerge collect` prints. Imports torch and transformers, so it is imported late."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ..errors import few
from .optional import needing
from .rows import LabeledRow, print_rows
from .show_merge import progress_bar


def run(
    sources: Sequence[str],
    base: str,
    samples: Sequence[Path],
    output: Path,
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """Collect, with a progress bar on stderr, and print what was gathered.

    Raises:
        MergeError: transformers or PEFT is not installed, or whatever collecting raises.
    """
    with needing("running a model", "robustmerge[collect]"):
        from ..collect.folders import collect_folders

    with progress_bar(f"collecting from {len(sources)} adapters") as progress:
        record = collect_folders(
            list(sources), base, list(samples), output, progress=progress, **options
        )
    if as_json:
        print(json.dumps({"output_folder": str(output), **record}, indent=2))
    else:
        _print(record, output)


def _print(record: Mapping[str, Any], output: Path) -> None:
    entries = record["adapters"]
    print_rows(
        Console(soft_wrap=True, highlight=False),
        [
            LabeledRow(
                "gathered", f"{', '.join(record['what'])}, through {record['through']} layers"
            ),
            *(
                LabeledRow(e["adapter"], f"{e['samples']} samples, {e['tokens']} tokens")
                for e in entries
            ),
            LabeledRow("written to", str(output)),
        ],
    )
    for entry in entries:
        if unseen := entry["unseen"]:
            note = (
                f"note: no sample of {entry['adapter']} reached {len(unseen)} modules, whose "
                f"statistics are zero: {few(unseen)}"
            )
            Console(stderr=True, soft_wrap=True).print(note, markup=False)
    names = " ".join(entry["adapter"] for entry in entries)
    method = "regmean" if "gram" in record["what"] else "fisher"
    print(f"\nnext: robustmerge merge {names} --method {method} --data {output} -o OUTPUT")
