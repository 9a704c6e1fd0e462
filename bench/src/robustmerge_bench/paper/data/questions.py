"""Question files: prompt, image and right answer of every question.

    {"question_id": "17", "image": "ImageNet/val/x.JPEG", "text": "What is …?", "answer": "Tub"}

More fields depend on the task. Ids are compared as they are written: 3 is not "3".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustmerge.errors import MergeError, shown

from .records import JsonRecord

Id = str | int


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        where: The file and the question's location in it.
        id: As the file writes it.
        text: The prompt, with instruction.
        image: The image's path as the file writes it; None if it has none.
        content: The whole record.
    """

    where: str
    id: Id
    text: str
    image: str | None
    content: Mapping[str, Any]

    @property
    def record(self) -> JsonRecord:
        """The record, for messages about its fields."""
        return JsonRecord(self.where, self.content)


def keys(ids: Sequence[Id]) -> list[Hashable]:
    """Return a key for every id, also where ids repeat: the id, and how often it came before."""
    seen: Counter[Id] = Counter()
    result: list[Hashable] = []
    for id in ids:
        result.append((id, seen[id]))
        seen[id] += 1
    return result


def text_of(record: JsonRecord, field: str) -> str:
    """Return a field that must be text."""
    value = record.content.get(field)
    if isinstance(value, str):
        return value
    raise wrong_field(record, field, "text")


def id_of(record: JsonRecord) -> Id:
    """Return the record's question_id, which must be text or a whole number."""
    value = record.content.get("question_id")
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    raise wrong_field(record, "question_id", "text or a whole number")


def wrong_field(record: JsonRecord, field: str, wanted: str) -> MergeError:
    """Return the error for a field that is missing or of another type."""
    content = record.content
    problem = (
        f"{field} is {shown(content[field])}, not {wanted}" if field in content else f"no {field}"
    )
    return MergeError(
        problem, where=record.where, hint=f"every record has a {field}, which is {wanted}"
    )


def question_of(record: JsonRecord) -> Question:
    """Read a question from a record."""
    image = record.content.get("image")
    if image is not None and not isinstance(image, str):
        raise wrong_field(record, "image", "the path of a file")
    return Question(record.where, id_of(record), text_of(record, "text"), image, record.content)
