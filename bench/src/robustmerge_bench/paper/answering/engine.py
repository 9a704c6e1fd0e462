"""What can answer questions: a model in this process, or a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from ..data.questions import Id
from ..tasks import Framing

Prompt = Literal["vicuna", "chat-template"]


@dataclass(frozen=True)
class Request:
    """One question to a model.

    Attributes:
        id: As its file writes it.
        text: The question with its instruction, without a mark for the picture.
        image: The picture's file, or its bytes; None where there is none.
        framing: How the task's released script crops or pads it; for LLaVA-1.5 only.
        max_new_tokens: Most tokens of the answer.
        where: The question's file and its place there, for messages.
        task: Name of the task.
        choices: The classes, for tasks that ask for the class of a picture.
    """

    id: Id
    text: str
    image: Path | bytes | None
    framing: Framing
    max_new_tokens: int
    where: str
    task: str = ""
    choices: tuple[str, ...] = ()


@runtime_checkable
class Engine(Protocol):
    """A model that answers.

    Attributes:
        window: How many questions it likes to be asked at once.
    """

    window: int

    def answer(self, questions: Sequence[Request]) -> list[str]:
        """Answers to these questions, in their order, without space around them.

        Raises:
            MergeError: A question cannot be asked, or the model cannot answer.
        """
        ...

    def facts(self) -> Mapping[str, Any]:
        """What is to be recorded of it, for JSON."""
        ...
