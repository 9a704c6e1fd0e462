"""Scoring of questions and answers that a test writes down."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from robustmerge_bench.paper.score import Protocol, Score
from robustmerge_bench.paper.scoring import Missing, score
from robustmerge_bench.paper.tasks import TASKS

Answer = tuple[str | int, str] | Mapping[str, Any]


class ScoringFolder:
    """Writes files into a folder and scores them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, content: Any) -> Path:
        """One JSON file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    def lines(self, name: str, records: Iterable[Any]) -> Path:
        """One file of JSON lines."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    def score(
        self,
        task: str,
        questions: Sequence[Mapping[str, Any]] | Path,
        answers: Sequence[Answer],
        protocol: Protocol,
        references: Path | None = None,
        missing: Missing = "refuse",
    ) -> Score:
        """The score of answers, each (id, text) or a whole record."""
        if not isinstance(questions, Path):
            questions = self.write("questions.json", [{"text": "what?", **q} for q in questions])
        records = [
            {"question_id": a[0], "text": a[1]} if isinstance(a, tuple) else a for a in answers
        ]
        predictions = self.lines("predictions.jsonl", records)
        return score(
            TASKS[task], questions, predictions,
            protocol=protocol, references=references, missing=missing,
        )  # fmt: skip

    def scores(self, *arguments: Any, **more: Any) -> list[float]:
        """What every sample is worth."""
        return [float(row[0]) for row in self.score(*arguments, **more).rows]


@pytest.fixture
def scoring(tmp_path: Path) -> ScoringFolder:
    return ScoringFolder(tmp_path)
