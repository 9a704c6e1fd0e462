r"""Training files as LLaVA keeps them: conversations about one picture, or about none.

    {"id": "17", "image": "coco/17.jpg", "conversations": [
      {"from": "human", "value": "<image>\nWhat is …?"}, {"from": "gpt", "value": "A tub"}, …]}

A file is a JSON list, or one object a line. All records are checked before a model is loaded, and
that every picture is there; what may still stop a training is a picture that cannot be read, or a
question too long to leave room for an answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustmerge.errors import MergeError, few, shown
from robustmerge.files import sha256

from ..data.records import JsonRecord, records

IMAGE = "<image>"
_ROLES = ("human", "gpt")
_SHAPE = 'conversations: [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}, …]'


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    Attributes:
        question: Without the picture's mark.
        answer: What the model learns to say.
    """

    question: str
    answer: str


@dataclass(frozen=True)
class Conversation:
    """One record.

    Attributes:
        where: The file and the record's place in it.
        image: The picture's file; it belongs before the first question. None where there is none.
        turns: At least one.
    """

    where: str
    image: Path | None
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Source:
    """Where the conversations of a task are.

    Attributes:
        task: Its name.
        path: The file of conversations.
        find: The file of a picture, from its path as a record writes it.
    """

    task: str
    path: Path
    find: Callable[[str], Path]


@dataclass(frozen=True)
class TrainingSet:
    """The conversations of some tasks.

    Attributes:
        conversations: Of all tasks, in their order.
        counts: How many there are of each task.
        files: For the record: every task's file, its hash, and how many records and pictures.
    """

    conversations: tuple[Conversation, ...]
    counts: tuple[int, ...]
    files: tuple[Mapping[str, Any], ...]

    @property
    def texts(self) -> int:
        """How many have no picture."""
        return sum(one.image is None for one in self.conversations)

    @classmethod
    def read(cls, sources: Sequence[Source]) -> TrainingSet:
        """Read and check the files of some tasks.

        Raises:
            MergeError: A record is no conversation, or its picture is not there.
        """
        found: list[Conversation] = []
        counts: list[int] = []
        files: list[Mapping[str, Any]] = []
        for source in sources:
            part = [_conversation(record, source.find) for record in records(source.path)]
            found += part
            counts.append(len(part))
            files.append(_facts(source, part))
        return cls(tuple(found), tuple(counts), tuple(files))


def _facts(source: Source, part: Sequence[Conversation]) -> Mapping[str, Any]:
    return {
        "task": source.task,
        "file": str(source.path),
        "sha256": sha256(source.path),
        "records": len(part),
        "images": sum(one.image is not None for one in part),
        "images_sha256": _digest(source.path, part),
    }


def _digest(path: Path, part: Sequence[Conversation]) -> str:
    """A hash of the pictures' names and sizes: to read them all would take as long as to train.

    Raises:
        MergeError: Some are not there.
    """
    digest, missing = hashlib.sha256(), []
    for one in part:
        if one.image is not None:
            try:
                size = one.image.stat().st_size if one.image.is_file() else None
            except (OSError, ValueError):
                size = None
            if size is None:
                missing.append(one)
            digest.update(f"{one.image.name} {size}\n".encode(errors="surrogateescape"))
    if missing:
        raise MergeError(
            f"{len(missing)} of {len(part)} records name a picture that is not there: "
            f"{few([str(one.image) for one in missing])}",
            where=missing[0].where,
            hint="--images FOLDER says where the paths in the file start",
        )
    return digest.hexdigest()


def _conversation(record: JsonRecord, find: Callable[[str], Path]) -> Conversation:
    image = record.content.get("image")
    if image is not None and (not isinstance(image, str) or not image):
        raise MergeError(
            f"image is {shown(image)}, not the path of a file",
            where=record.where,
            hint="one picture a record; one without a picture has no field image",
        )
    values = _values(record)
    _check_marks(record, values, image is not None)
    turns = zip(map(_unmarked, values[::2]), values[1::2], strict=True)
    path = None if image is None else find(image)
    return Conversation(record.where, path, tuple(Turn(q, a) for q, a in turns))


def _values(record: JsonRecord) -> list[str]:
    """What is said, human and model in turn."""
    said = record.content.get("conversations")
    if not isinstance(said, list) or not said:
        there = "no conversations" if said is None else f"conversations is {shown(said)}"
        raise MergeError(there, where=record.where, hint=_SHAPE)
    values: list[str] = []
    for number, one in enumerate(said):
        wanted = _ROLES[number % 2]
        who = one.get("from") if isinstance(one, dict) else None
        value = one.get("value") if isinstance(one, dict) else None
        if who != wanted or not isinstance(value, str):
            raise MergeError(
                f"turn {number + 1} is {shown(one)}, not one from {wanted!r} with a text as value",
                where=record.where,
                hint=f"human and gpt take turns, human first; {_SHAPE}",
            )
        if wanted == "gpt" and not value.strip():
            raise MergeError(
                f"turn {number + 1}, an answer, is empty",
                where=record.where,
                hint="there is nothing to learn from it; fill it or take the record out",
            )
        values.append(value)
    if len(values) % 2:
        raise MergeError(
            f"turn {len(values)}, a question, has no answer", where=record.where, hint=_SHAPE
        )
    return values


def _check_marks(record: JsonRecord, values: Sequence[str], image: bool) -> None:
    """Check that a picture is marked once, in the first question, and nothing else is."""
    marks = [value.count(IMAGE) for value in values]
    if marks == [int(image), *[0] * (len(values) - 1)]:
        return
    places = [str(number) for number, count in enumerate(marks, 1) for _ in range(count)]
    raise MergeError(
        f"{'one picture' if image else 'no picture'}, but {IMAGE} "
        f"{'in turn ' + ', '.join(places) if places else 'nowhere'}",
        where=record.where,
        hint=f"a record with an image has {IMAGE} once, anywhere in its first turn; one without "
        "has it nowhere",
    )


def _unmarked(question: str) -> str:
    # Only a question that held the mark is stripped, as in LLaVA's code.
    return question.replace(IMAGE, "").strip() if IMAGE in question else question
