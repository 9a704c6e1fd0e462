r"""Training files in LLaVA's format: conversations about one image, or about none.

    {"id": "17", "image": "coco/17.jpg", "conversations": [
      {"from": "human", "value": "<image>\nWhat is …?"}, {"from": "gpt", "value": "A tub"}, …]}

A file is a JSON list, or one object a line. All records and the existence of every image are
checked before a model is loaded; what may still stop a training is an image that cannot be read, or
a question too long to leave room for an answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError, few, shown
from robustmerge.files import sha256

from ..data.records import JsonRecord, read_records

IMAGE = "<image>"
_ROLES = ("human", "gpt")
_SHAPE = 'conversations: [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}, …]'


@dataclass(frozen=True)
class Turn:
    """A question, without the image's mark, and the model's answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Conversation:
    """One record.

    Attributes:
        where: The file and the record's position in it.
        image: The image's file; it belongs before the first question. None where there is none.
        turns: At least one.
    """

    where: str
    image: Path | None
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Source:
    """The location of a task's conversations.

    Attributes:
        find: Finds the file of an image, from its path in a record.
    """

    task: str
    path: Path
    find: Callable[[str], Path]


@dataclass(frozen=True)
class TrainingSet:
    """The conversations of some tasks.

    Attributes:
        conversations: Of all tasks, in their order.
        counts: Number of each task's conversations.
        files: For the record: every task's file, its hash, and its numbers of records and images.
    """

    conversations: tuple[Conversation, ...]
    counts: tuple[int, ...]
    files: tuple[Mapping[str, Any], ...]

    @property
    def texts(self) -> int:
        """Number of conversations without an image."""
        return sum(each.image is None for each in self.conversations)

    @classmethod
    def read(cls, sources: Sequence[Source]) -> TrainingSet:
        """Read and check the files of some tasks."""
        conversations: list[Conversation] = []
        counts: list[int] = []
        files: list[Mapping[str, Any]] = []
        for source in sources:
            part = [_conversation(record, source.find) for record in read_records(source.path)]
            conversations += part
            counts.append(len(part))
            files.append(_facts(source, part))
        return cls(tuple(conversations), tuple(counts), tuple(files))


def _facts(source: Source, part: Sequence[Conversation]) -> Mapping[str, Any]:
    return {
        "task": source.task,
        "file": str(source.path),
        "sha256": sha256(source.path),
        "records": len(part),
        "images": sum(each.image is not None for each in part),
        "images_sha256": _hash_images(part),
    }


def _hash_images(part: Sequence[Conversation]) -> str:
    """Hash the images' names and sizes: to read them all would take as long as to train."""
    digest, missing = hashlib.sha256(), []
    for each in part:
        if each.image is not None:
            try:
                size = each.image.stat().st_size if each.image.is_file() else None
            except (OSError, ValueError):
                size = None
            if size is None:
                missing.append(each)
            digest.update(f"{each.image.name} {size}\n".encode(errors="surrogateescape"))
    if missing:
        raise MergeError(
            f"{len(missing)} of {len(part)} records name an image that does not exist: "
            f"{few([str(each.image) for each in missing])}",
            where=missing[0].where,
            hint="--images FOLDER is the folder that paths in the file are relative to",
        )
    return digest.hexdigest()


def _conversation(record: JsonRecord, find: Callable[[str], Path]) -> Conversation:
    image = record.content.get("image")
    if image is not None and (not isinstance(image, str) or not image):
        raise MergeError(
            f"image is {shown(image)}, not the path of a file",
            where=record.where,
            hint="one image a record; one without an image has no field image",
        )
    values = _values(record)
    _check_marks(record, values, image is not None)
    turns = zip(map(_remove_mark, values[::2]), values[1::2], strict=True)
    path = None if image is None else find(image)
    return Conversation(record.where, path, tuple(Turn(q, a) for q, a in turns))


def _values(record: JsonRecord) -> list[str]:
    """Return the texts of human and model in turn."""
    turns = record.content.get("conversations")
    if not isinstance(turns, list) or not turns:
        problem = "no conversations" if turns is None else f"conversations is {shown(turns)}"
        raise MergeError(problem, where=record.where, hint=_SHAPE)
    values: list[str] = []
    for number, turn in enumerate(turns):
        role = _ROLES[number % 2]
        fields = turn if isinstance(turn, dict) else {}
        value = fields.get("value")
        if fields.get("from") != role or not isinstance(value, str):
            raise MergeError(
                f"turn {number + 1} is {shown(turn)}, not one from {role!r} with a text as value",
                where=record.where,
                hint=f"human and gpt take turns, human first; {_SHAPE}",
            )
        if role == "gpt" and not value.strip():
            raise MergeError(
                f"turn {number + 1}, an answer, is empty",
                where=record.where,
                hint="there is nothing to learn from it; fill it or remove the record",
            )
        values.append(value)
    if len(values) % 2:
        raise MergeError(
            f"turn {len(values)}, a question, has no answer", where=record.where, hint=_SHAPE
        )
    return values


def _check_marks(record: JsonRecord, values: Sequence[str], image: bool) -> None:
    """Check that an image is marked once, in the first question."""
    marks = [value.count(IMAGE) for value in values]
    if marks == [int(image), *[0] * (len(values) - 1)]:
        return
    turns = [str(number) for number, count in enumerate(marks, 1) for _ in range(count)]
    raise MergeError(
        f"{'one image' if image else 'no image'}, but {IMAGE} "
        f"{'in turn ' + ', '.join(turns) if turns else 'nowhere'}",
        where=record.where,
        hint=f"a record with an image has {IMAGE} once, anywhere in its first turn; one without "
        "has it nowhere",
    )


def _remove_mark(question: str) -> str:
    # Only a question that held the mark is stripped, as in LLaVA's code.
    return question.replace(IMAGE, "").strip() if IMAGE in question else question
