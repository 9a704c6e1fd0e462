"""Files of predictions: JSON lines as the released scripts write and read them.

    {"question_id": "17", "prompt": "What is …?", "text": "Tub", "answer_id": "…",
     "model_id": "…", "metadata": {}}

Only question_id and text are needed to score; ScienceQA's score over images reads the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .questions import Id, id_of, text_of, wrong_field
from .records import JsonRecord, read_records


@dataclass(frozen=True)
class Prediction:
    """One answer of a model.

    Attributes:
        where: The file and the line.
        id: The question's, as the file writes it.
        prompt: The prompt, if the file has it.
    """

    where: str
    id: Id
    text: str
    prompt: str


def read_predictions(path: Path) -> list[Prediction]:
    """Read the predictions of a file, in its order."""
    return [_prediction(record) for record in read_records(path)]


def _prediction(record: JsonRecord) -> Prediction:
    prompt = record.content.get("prompt", "")
    if not isinstance(prompt, str):
        raise wrong_field(record, "prompt", "text")
    return Prediction(record.where, id_of(record), text_of(record, "text"), prompt)
