"""A task as data: the names of its files, its prompts' options, and the rule that scores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["seen", "unseen", "general", "vision"]
Framing = Literal["crop", "pad"]
"""How an image that is not square is prepared: cropped, or padded to a square in gray."""


@dataclass(frozen=True)
class PaperTask:
    """One task of the paper.

    Attributes:
        name: Its name on the command line.
        title: Its name in the paper.
        column: The head of its column in the paper's tables.
        group: Its group: those with and without an expert, general benchmarks, vision.
        kind: Key of the rule that scores it in `scoring.rules.RULES`.
        folders: Names that its folder may have, that of the released scripts first.
        questions: Names that its question file may have, or its folder of images by class.
        references: Names of the file with its references; none where answers are in the questions.
        training: Names of the file with its conversations, for training.
        framing: How the released script prepares images.
        max_new_tokens: Most tokens of an answer in the released script.
        repeated_ids: Several questions may have one id, as where ids count within a class.
        without_image: A question may have no image.
        class_list: The released script replaces the instruction by one that lists all classes.
    """

    name: str
    title: str
    column: str
    group: Group
    kind: str
    folders: tuple[str, ...]
    questions: tuple[str, ...]
    references: tuple[str, ...] = ()
    training: tuple[str, ...] = ("train.json",)
    framing: Framing = "pad"
    max_new_tokens: int = 128
    repeated_ids: bool = False
    without_image: bool = False
    class_list: bool = False
