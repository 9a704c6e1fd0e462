"""Requests, and the engines that answer them: a model in this process, or a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from ..data.questions import Id
from ..tasks import Framing

PromptFormat = Literal["vicuna", "chat-template"]


@dataclass(frozen=True)
class Request:
    """One question to a model.

    Attributes:
        id: As its file writes it.
        text: The question with its instruction, without a mark for the image.
        image: The image's file, or its bytes; None where there is none.
        framing: How the task's released script crops or pads it; for LLaVA-1.5 only.
        max_new_tokens: Most tokens of the answer.
        where: The question's file and its position there, for messages.
        choices: The classes, for tasks of image classification.
    """

    id: Id
    text: str
    image: Path | bytes | None
    framing: Framing
    max_new_tokens: int
    where: str
    task: str = ""
    choices: tuple[str, ...] = ()

    @property
    def location(self) -> str:
        """The question's file, its position there and its id."""
        return f"{self.where}, question {self.id}"


@runtime_checkable
class Engine(Protocol):
    """A model that answers.

    Attributes:
        window: How many requests it should get at once.
    """

    window: int

    def answer(self, requests: Sequence[Request]) -> list[str]:
        """Return the answers in the requests' order, stripped of white space."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Return what run.json records of it."""
        ...
