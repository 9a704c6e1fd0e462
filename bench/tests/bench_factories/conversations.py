"""Files of conversations as LLaVA keeps them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robustmerge_bench.paper.training.conversations import Source
from robustmerge_bench.paper.training.sources import of_file


def lesson(
    question: str, answer: str, image: str | None = None, more: Sequence[str] = ()
) -> dict[str, Any]:
    """A record; `more` are further questions and answers in turn."""
    said = [f"<image>\n{question}" if image else question, answer, *more]
    roles = ("human", "gpt")
    record: dict[str, Any] = {
        "id": question,
        "conversations": [{"from": roles[n % 2], "value": value} for n, value in enumerate(said)],
    }
    return record | ({"image": image} if image else {})


def write(path: Path, lessons: Sequence[Any]) -> Path:
    """Write them as a JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(lessons)))
    return path


def source_of(path: Path, task: str = "toy") -> Source:
    """The file as a source, its pictures beside it."""
    (found,) = of_file(path, None, task)[1]
    return found
