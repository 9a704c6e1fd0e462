"""Question files: what is asked, about which picture, and what the answer is.

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
        where: The file and the question's place in it.
        id: As the file writes it.
        text: The prompt, with instruction.
        image: The picture's path as the file writes it; None where there is none.
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
    """One key for every id, also where ids repeat: the id, and how often it came before."""
    seen: Counter[Id] = Counter()
    found: list[Hashable] = []
    for one in ids:
        found.append((one, seen[one]))
        seen[one] += 1
    return found


def text_of(record: JsonRecord, field: str) -> str:
    """A field that is text.

    Raises:
        MergeError: It is missing, or something else.
    """
    value = record.content.get(field)
    if isinstance(value, str):
        return value
    raise wrong_field(record, field, "text")


def id_of(record: JsonRecord) -> Id:
    """The record's question_id.

    Raises:
        MergeError: It is missing, or neither text nor a whole number.
    """
    value = record.content.get("question_id")
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    raise wrong_field(record, "question_id", "text or a whole number")


def wrong_field(record: JsonRecord, field: str, wanted: str) -> MergeError:
    """The error for a field that is missing or of another type."""
    there = field in record.content
    found = f"{field} is {shown(record.content[field])}, not {wanted}" if there else f"no {field}"
    return MergeError(
        found, where=record.where, hint=f"every record has a {field}, which is {wanted}"
    )


def question_of(record: JsonRecord) -> Question:
    """Read a question from a record.

    Raises:
        MergeError: A field is missing or of another type.
    """
    image = record.content.get("image")
    if image is not None and not isinstance(image, str):
        raise wrong_field(record, "image", "the path of a file")
    return Question(record.where, id_of(record), text_of(record, "text"), image, record.content)
