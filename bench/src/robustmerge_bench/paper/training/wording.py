"""Conversations as the text that a model reads, with the spans of the answers.

An answer begins where the model takes over, directly after "ASSISTANT:", and includes the token
that ends it: exactly what the model has to generate is learned.

Source of the vicuna format: conversation.py (vicuna_v1) and preprocess_v1 of haotian-liu/LLaVA.
"""

from __future__ import annotations

from dataclasses import dataclass

from robustmerge.collect.processor import ChatTurn, ModelProcessor
from robustmerge.errors import MergeError, shown

from ..answering.prompts import END, IMAGE, SYSTEM
from .conversations import Conversation

Span = tuple[int, int]


@dataclass(frozen=True)
class ConversationText:
    """A conversation's text.

    Attributes:
        text: With one mark for the image.
        answers: Start and end of each answer in it.
    """

    text: str
    answers: tuple[Span, ...]


def vicuna(conversation: Conversation) -> ConversationText:
    """Return the conversation in LLaVA-1.5's format, turn after turn.

    SYSTEM USER: <image>, line break, question ASSISTANT: answer</s>USER: question ASSISTANT: …
    """
    text, answers = f"{SYSTEM} ", []
    for number, turn in enumerate(conversation.turns):
        mark = f"{IMAGE}\n" if conversation.image is not None and number == 0 else ""
        text += f"USER: {mark}{turn.question} ASSISTANT:"
        start = len(text)
        text += f" {turn.answer}{END}"
        answers.append((start, len(text)))
    return ConversationText(text, tuple(answers))


@dataclass(frozen=True)
class Template:
    """A model's chat template.

    Attributes:
        end: End of an answer, for templates that do not write it.
        ends: Tokens that end an answer in templates that do.
    """

    processor: ModelProcessor
    end: str
    ends: tuple[str, ...]

    def __call__(self, conversation: Conversation) -> ConversationText:
        """Return the conversation as the template writes it."""
        turns: list[ChatTurn] = []
        answers: list[Span] = []
        text = ""
        for number, turn in enumerate(conversation.turns):
            images = int(conversation.image is not None and number == 0)
            turns.append(self.processor.turn("user", turn.question, images))
            prompt, before = self.processor.render(turns, ask=True), text.rstrip()
            turns.append(self.processor.turn("assistant", turn.answer))
            text = self.processor.render(turns, ask=False)
            answers.append((len(prompt), len(text.rstrip())))
            if not (text.startswith(prompt) and prompt.startswith(before)):
                raise MergeError(
                    f"the chat template asks for an answer with {shown(prompt[-60:])} and writes "
                    f"one as {shown(text[-60:])}",
                    where=conversation.where,
                    hint="it changes earlier turns, as templates of thinking models do; such a "
                    "model cannot be trained here",
                )
        start, end = answers[-1]
        if not text[start:end].endswith(self.ends):
            text = text[:end] + self.end
            answers[-1] = start, len(text)
        return ConversationText(text, tuple(answers))
