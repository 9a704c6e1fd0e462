"""Training images with their classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from robustmerge.collect.processor import open_image
from robustmerge.errors import MergeError

from ...answering.clip.model import ClipModel
from ...data.find import LocatedTask, find_file, find_image, image_roots
from ...data.questions import Question, text_of
from ...data.read import hash_questions, load_questions
from ...data.records import JsonRecord
from ...tasks import PaperTask


@dataclass(frozen=True)
class ClassImage:
    """One image.

    Attributes:
        where: Its record, for messages.
        label: Its class: the row among the classes of all tasks.
    """

    where: str
    path: Path
    label: int


@dataclass(frozen=True)
class ClassImages:
    """The images of some tasks.

    Attributes:
        counts: Number of each task's images.
        images: Of all tasks, in their order.
        files: For the record: every task's file or folder, and its hash.
    """

    tasks: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]
    counts: tuple[int, ...]
    images: tuple[ClassImage, ...]
    files: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, tasks: Sequence[PaperTask], data: Path) -> ClassImages:
        """Find the training images of tasks in the folder that holds all tasks."""
        classes: list[tuple[str, ...]] = []
        images: list[list[ClassImage]] = []
        files: list[Mapping[str, Any]] = []
        for task in tasks:
            if task.kind != "label":
                raise MergeError(
                    f"CLIP cannot learn {task.title}",
                    where=f"--task {task.name}",
                    hint="it learns classes of images: the tasks of the group vision",
                )
            path = find_file(data, task, task.training)
            questions = load_questions(path, task)
            location = LocatedTask(path, None, path, image_roots(data, task, path.parent))
            first = sum(map(len, classes))
            names = sorted({_class_of(question) for question in questions})
            images.append([_image(question, location, first, names) for question in questions])
            classes.append(tuple(names))
            facts = {
                "task": task.name,
                "file": str(path),
                "sha256": hash_questions(path, questions),
            }
            files.append({**facts, "pictures": len(questions), "classes": len(names)})
        return cls(
            tuple(task.name for task in tasks),
            tuple(classes),
            tuple(map(len, images)),
            tuple(image for part in images for image in part),
            tuple(files),
        )

    @property
    def owners(self) -> Int[Tensor, " classes"]:
        """The number of the task that each class belongs to."""
        return torch.tensor([task for task, names in enumerate(self.classes) for _ in names])


def _class_of(question: Question) -> str:
    return text_of(JsonRecord(question.where, question.content), "answer")


def _image(
    question: Question, location: LocatedTask, first: int, names: Sequence[str]
) -> ClassImage:
    path = find_image(location, question)
    if path is None:
        raise MergeError(
            "a question without an image",
            where=question.where,
            hint="its record needs an image, which is the path of a file",
        )
    return ClassImage(question.where, path, first + names.index(_class_of(question)))


@dataclass(frozen=True)
class ImageEncoder:
    """Encoder of images as examples."""

    clip: ClipModel

    def __call__(self, image: ClassImage) -> dict[str, Tensor]:
        """Return an image and its label, as a batch of one."""
        pixels = self.clip.pixels([open_image(image.path, image.where)])
        return {"pixel_values": pixels, "labels": torch.tensor([image.label])}
