"""Pictures to learn from, and the class that each shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Dataset

from robustmerge.errors import MergeError

from ...answering.clip.model import ClipModel
from ...answering.images import opened
from ...data.find import LocatedTask, image_roots, located, picture
from ...data.pictures import digest, questions_at
from ...data.questions import Question, text_of
from ...data.records import JsonRecord
from ...tasks import PaperTask

Example = dict[str, Tensor]


@dataclass(frozen=True)
class ClassImage:
    """One picture.

    Attributes:
        where: Its place, for messages.
        image: Its file.
        label: Its class: the row among the classes of all tasks.
    """

    where: str
    image: Path
    label: int


@dataclass(frozen=True)
class ClassImages:
    """The pictures of some tasks.

    Attributes:
        tasks: Names of the tasks.
        classes: What the classes of each are called.
        counts: How many pictures there are of each.
        lessons: The pictures of all tasks, in their order.
        files: For the record: every task's file or folder, and its hash.
    """

    tasks: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]
    counts: tuple[int, ...]
    lessons: tuple[ClassImage, ...]
    files: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, tasks: Sequence[PaperTask], data: Path) -> ClassImages:
        """Find the training pictures of tasks.

        Args:
            tasks: The tasks.
            data: The folder that holds all tasks.

        Raises:
            MergeError: A task is not one of pictures and classes, or its files are not there.
        """
        classes: list[tuple[str, ...]] = []
        lessons: list[list[ClassImage]] = []
        files: list[Mapping[str, Any]] = []
        for task in tasks:
            if task.kind != "label":
                raise MergeError(
                    f"CLIP cannot learn {task.title}",
                    where=f"--task {task.name}",
                    hint="it learns the classes of pictures: the tasks of the group vision",
                )
            path = located(data, task, task.training)
            questions = questions_at(path, task)
            found = LocatedTask(path, None, path, image_roots(data, task, path.parent))
            first = sum(map(len, classes))
            names = sorted({_class(one) for one in questions})
            lessons.append([_lesson(one, found, first, names) for one in questions])
            classes.append(tuple(names))
            facts = {"task": task.name, "file": str(path), "sha256": digest(path, questions)}
            files.append({**facts, "pictures": len(questions), "classes": len(names)})
        return cls(
            tuple(task.name for task in tasks),
            tuple(classes),
            tuple(map(len, lessons)),
            tuple(lesson for part in lessons for lesson in part),
            tuple(files),
        )

    @property
    def owners(self) -> Int[Tensor, " classes"]:
        """Which task each of the classes of all belongs to."""
        return torch.tensor([task for task, names in enumerate(self.classes) for _ in names])


def _class(question: Question) -> str:
    return text_of(JsonRecord(question.where, question.content), "answer")


def _lesson(question: Question, found: LocatedTask, first: int, names: Sequence[str]) -> ClassImage:
    image = picture(found, question)
    if image is None:
        raise MergeError(
            "a question without a picture",
            where=question.where,
            hint="its record needs an image, which is the path of a file",
        )
    return ClassImage(question.where, image, first + names.index(_class(question)))


class ClassExamples(Dataset[Example]):
    """Pictures as the model takes them, in the order in which they are seen."""

    def __init__(self, lessons: Sequence[ClassImage], rows: Sequence[int], clip: ClipModel) -> None:
        """Keep what examples are made from.

        Args:
            lessons: All there are.
            rows: Which of them is seen when.
            clip: Whose processor makes pixels.
        """
        self._lessons, self._rows, self._images = lessons, rows, clip.images

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        """A picture and its label.

        Raises:
            MergeError: The picture cannot be read.
        """
        lesson = self._lessons[self._rows[index]]
        image = opened(lesson.image, lesson.where)
        pixels = self._images(image, return_tensors="pt")["pixel_values"]
        return {"pixel_values": pixels[0], "labels": torch.tensor(lesson.label)}


def together(examples: Sequence[Example]) -> Example:
    """A batch: pixel_values [n, 3, height, width] and labels [n]."""
    return {name: torch.stack([one[name] for one in examples]) for name in examples[0]}
