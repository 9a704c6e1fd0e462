"""A task as data: what its files are called, how it is asked, and which rule scores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["seen", "unseen", "general", "vision"]
Framing = Literal["crop", "pad"]
"""How CLIP's processor gets a picture that is not square: cut, or on a gray square."""


@dataclass(frozen=True)
class PaperTask:
    """One task.

    Attributes:
        name: What it is called on the command line.
        title: What the paper calls it.
        column: The head of its column in the paper's tables.
        group: Whether an expert was trained on it.
        kind: Key of the rule that scores it in `scoring.rules.RULES`.
        folders: Names that its folder goes by, that of the released scripts first.
        questions: Names that its question file goes by, or its folder of pictures by class.
        references: Names of the file with its references; none where answers are in the questions.
        training: Names of the file with its conversations, for training.
        framing: How the released script crops or pads a picture.
        max_new_tokens: Most tokens of an answer there.
        repeated_ids: Several questions may have one id, as where ids count within a class.
        without_image: A question may have no picture.
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
