"""A conversation's text, and exactly that of it which a model has to generate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustmerge.collect.processor import ModelProcessor
from robustmerge.errors import MergeError
from robustmerge_bench.paper.answering import prompts
from robustmerge_bench.paper.training.conversations import Conversation, Turn
from robustmerge_bench.paper.training.wording import ConversationText, Template, vicuna

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)


def dialog_of(*turns: tuple[str, str], image: bool = True) -> Conversation:
    image_file = Path("a.png") if image else None
    return Conversation("here", image_file, tuple(Turn(*turn) for turn in turns))


def learned(worded: ConversationText) -> list[str]:
    return [worded.text[start:end] for start, end in worded.answers]


def test_vicuna_is_llavas_letter_by_letter() -> None:
    worded = vicuna(dialog_of(("Q1", "A1"), ("Q2", "A2")))
    assert worded.text == (
        f"{SYSTEM} USER: <image>\nQ1 ASSISTANT: A1</s>USER: Q2 ASSISTANT: A2</s>"
    )
    assert learned(worded) == [" A1</s>", " A2</s>"]


@pytest.mark.parametrize("image", [True, False])
def test_one_turn_is_the_prompt_that_is_requested_and_its_answer(image: bool) -> None:
    worded = vicuna(dialog_of(("Where?", "There"), image=image))
    assert worded.text == prompts.vicuna("Where?", image, "There")
    assert worded.text[: worded.answers[0][0]] == prompts.vicuna("Where?", image)


class FunctionTemplate:
    """A processor with a chat template, as a function."""

    chat_template = "as a function"
    tokenizer: object

    def __init__(self, answer: str, ask: str = "B:", keep: bool = True) -> None:
        self._answer, self._ask, self._keep = answer, ask, keep
        self.turns: list[Any] = []

    def apply_chat_template(self, turns: Any, tokenize: bool, add_generation_prompt: bool) -> str:
        assert not tokenize
        self.turns = turns
        text = ""
        for number, turn in enumerate(turns):
            message = turn["content"]
            if not self._keep and number < len(turns) - 1 and turn["role"] == "assistant":
                message = "…"
            if not isinstance(message, str):
                message = "".join(p.get("text", "<image>") for p in message)
            text += (
                self._answer.format(message) if turn["role"] == "assistant" else f"A:{message}\n"
            )
        return text + (self._ask if add_generation_prompt else "")


def template(answer: str, *, parts: bool = True, **options: Any) -> Template:
    written = FunctionTemplate(answer, **options)
    written.tokenizer = object() if parts else written  # a tokenizer is its own
    return Template(ModelProcessor(written), "<e>", ("<e>", "<end>"))


def test_a_template_that_ends_its_answers() -> None:
    worded = template("B: {}<end>\n")(dialog_of(("Q1", "A1"), ("Q2", "A2")))
    assert worded.text == "A:<image>Q1\nB: A1<end>\nA:Q2\nB: A2<end>\n"
    assert learned(worded) == [" A1<end>", " A2<end>"]


def test_the_last_answer_is_ended_where_the_template_does_not() -> None:
    worded = template("B: {} ")(dialog_of(("Q1", "A1"), ("Q2", "A2"), image=False))
    assert worded.text == "A:Q1\nB: A1 A:Q2\nB: A2<e>"
    assert learned(worded) == [" A1", " A2<e>"]


def test_a_tokenizers_template_gets_plain_text() -> None:
    made = template("B: {}<end>", parts=False)
    assert made(dialog_of(("Q", "A"), image=False)).text == "A:Q\nB: A<end>"
    assert made.processor.processor.turns[0] == {"role": "user", "content": "Q"}


@pytest.mark.parametrize("options", [{"ask": "B:<think>"}, {"keep": False}])
def test_a_template_that_asks_otherwise_than_it_writes_is_refused(options: Any) -> None:
    with pytest.raises(MergeError, match="the chat template asks for an answer with") as caught:
        template("B: {}<end>", **options)(dialog_of(("Q1", "A1"), ("Q2", "A2")))
    assert caught.value.where == "here"
