"""A conversation as the text a model reads, and which of its letters are answers.

An answer begins where the model takes over, directly behind "ASSISTANT:", and ends with the token
that ends it: what has to be generated is what is learned, no more and no less.

Source of the vicuna format: conversation.py (vicuna_v1) and preprocess_v1 of haotian-liu/LLaVA.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustmerge.errors import MergeError, shown

from ..answering.prompts import END, IMAGE, SYSTEM
from .conversations import Conversation

Span = tuple[int, int]


@dataclass(frozen=True)
class ConversationText:
    """A conversation's text.

    Attributes:
        text: With one mark for the picture.
        answers: Where each answer begins and ends in it.
    """

    text: str
    answers: tuple[Span, ...]


def vicuna(conversation: Conversation) -> ConversationText:
    """The conversation in LLaVA-1.5's format, turn after turn.

    SYSTEM USER: <image>, line break, question ASSISTANT: answer</s>USER: question ASSISTANT: …
    """
    text, answers = f"{SYSTEM} ", []
    for number, turn in enumerate(conversation.turns):
        picture = f"{IMAGE}\n" if conversation.image is not None and number == 0 else ""
        text += f"USER: {picture}{turn.question} ASSISTANT:"
        start = len(text)
        text += f" {turn.answer}{END}"
        answers.append((start, len(text)))
    return ConversationText(text, tuple(answers))


@dataclass(frozen=True)
class Template:
    """A chat template.

    Attributes:
        processor: What has it: a processor, or a tokenizer where there are no pictures.
        parts: Whether a turn's content is a list of parts, or just text.
        end: What ends an answer, for templates that do not write it.
        ends: Tokens that end an answer in templates that do.
    """

    processor: Any
    parts: bool
    end: str
    ends: tuple[str, ...]

    def __call__(self, conversation: Conversation) -> ConversationText:
        """The conversation as the model's own template writes it.

        Raises:
            MergeError: The template writes an answer elsewhere than where it asks for one.
        """
        turns: list[Mapping[str, Any]] = []
        answers: list[Span] = []
        text = ""
        for number, turn in enumerate(conversation.turns):
            turns.append(self._turn("user", turn.question, bool(conversation.image) and not number))
            asked, before = self._written(turns, ask=True), text.rstrip()
            turns.append(self._turn("assistant", turn.answer, image=False))
            text = self._written(turns, ask=False)
            answers.append((len(asked), len(text.rstrip())))
            if not (text.startswith(asked) and asked.startswith(before)):
                raise MergeError(
                    f"the chat template asks for an answer with {shown(asked[-60:])} and writes "
                    f"one as {shown(text[-60:])}",
                    where=conversation.where,
                    hint="it changes what came before, as templates of thinking models do; such a "
                    "model cannot be trained here",
                )
        start, end = answers[-1]
        if not text[start:end].endswith(self.ends):
            text = text[:end] + self.end
            answers[-1] = start, len(text)
        return ConversationText(text, tuple(answers))

    def _turn(self, role: str, text: str, image: bool) -> Mapping[str, Any]:
        parts = [*([{"type": "image"}] if image else []), {"type": "text", "text": text}]
        return {"role": role, "content": parts if self.parts else text}

    def _written(self, turns: Sequence[Mapping[str, Any]], *, ask: bool) -> str:
        written: str = self.processor.apply_chat_template(
            list(turns), tokenize=False, add_generation_prompt=ask
        )
        return written
