"""Files of conversations in LLaVA's format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robustmerge_bench.paper.training.conversations import Source
from robustmerge_bench.paper.training.sources import of_file


def entry(
    question: str, answer: str, image: str | None = None, more: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a record; `more` are further questions and answers in turn."""
    turns = [f"<image>\n{question}" if image else question, answer, *more]
    roles = ("human", "gpt")
    record: dict[str, Any] = {
        "id": question,
        "conversations": [{"from": roles[n % 2], "value": value} for n, value in enumerate(turns)],
    }
    return record | ({"image": image} if image else {})


def write(path: Path, records: Sequence[Any]) -> Path:
    """Write them as a JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(records)))
    return path


def source_of(path: Path, task: str = "toy") -> Source:
    """Return the file as a source, its images in the same folder."""
    (source,) = of_file(path, None, task)[1]
    return source
