"""MMBench's question files: tables of tab-separated columns, with the images in them.

    index  question  hint  A  B  C  D  answer  category  image  source  l2-category  comment  split

A missing option, hint or answer is empty, or `nan`. Images are base64 and stay in
`content["image"]`: a question of these has no path.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping
from pathlib import Path

from robustmerge.errors import MergeError, few, reading, shown

from .questions import Question

LETTERS = "ABCDEFGH"
_NEEDED = ("index", "question", "A", "B")
_NONE = ("", "nan", "none")


def read_table(path: Path) -> list[Question]:
    """Read the questions of a table, in its order; the prompt is hint, question and options."""
    with reading(path):
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    csv.field_size_limit(sys.maxsize)  # an image is longer than the 128 KB of csv
    rows = csv.DictReader(io.StringIO(text, newline=""), dialect="excel-tab")
    if missing := [name for name in _NEEDED if name not in (rows.fieldnames or ())]:
        raise MergeError(
            f"the table has no column {few(missing)}",
            where=str(path),
            hint="MMBench's tables have index, question, A to D and answer, separated by tabs",
        )
    return [_question(row, f"{path}, row {number}") for number, row in enumerate(rows, 1)]


def options(content: Mapping[str, object]) -> dict[str, str]:
    """Return the options of a row by letter, up to the first missing one."""
    by_letter: dict[str, str] = {}
    for letter in LETTERS:
        option = content.get(letter)
        if not isinstance(option, str) or option.strip().lower() in _NONE:
            break
        by_letter[letter] = option
    return by_letter


def _question(row: Mapping[str, str], where: str) -> Question:
    try:
        index = int(float(row["index"]))
    except (TypeError, ValueError, OverflowError):
        raise MergeError(
            f"the index is {shown(row['index'])}, not a number",
            where=where,
            hint="the table may be cut off, or an image may have broken a line",
        ) from None
    hint = row.get("hint") or ""
    lines = [] if hint.strip().lower() in _NONE else [hint]
    lines += [row["question"] or "", *(f"{k}. {v}" for k, v in options(row).items())]
    return Question(where, index, "\n".join(lines), None, row)
