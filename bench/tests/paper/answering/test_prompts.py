"""Prompts and tokens, held to what the released scripts make of the same text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from robustmerge import MergeError
from robustmerge_bench.paper.answering.prompts import prompt_text, recorded_prompt, vicuna
from robustmerge_bench.paper.answering.tokens import token_ids
from robustmerge_bench.paper.data.questions import Question
from robustmerge_bench.paper.tasks import TASKS
from robustmerge_bench.paper.tasks.classes import IMAGENET_CLASSES


def question(text: str, image: str | None = "x.png") -> Question:
    return Question("test.json, record 1", "1", text, image, {})


def test_the_whole_conversation() -> None:
    system = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions."
    )
    assert vicuna("What?\nOne word.", True) == (
        f"{system} USER: <image>\nWhat?\nOne word. ASSISTANT:"
    )
    assert vicuna("Why?", False) == f"{system} USER: Why? ASSISTANT:"
    assert vicuna("Why?", False, "So") == f"{system} USER: Why? ASSISTANT: So</s>"
    assert vicuna("Why?", True, "").endswith("USER: <image>\nWhy? ASSISTANT: </s>")


def test_imagenet_lists_its_classes_in_place_of_the_instruction() -> None:
    result = prompt_text(TASKS["imagenet"], question("What is it?\nAnswer with a word.\nOr two."))
    head, _, names = result.partition("\nChoose an answer from the choices below: ")
    assert head == "What is it?"
    assert names.endswith("Lemon, Bernese mountain dog.")
    assert names.startswith("Doormat, Pomeranian, Chime")
    assert len(set(IMAGENET_CLASSES)) == 100
    assert "\n" not in names
    assert recorded_prompt(TASKS["imagenet"], question("What is it?\nx")) == result
    kept = "What is it?\nAnswer with a word."
    assert prompt_text(TASKS["imagenet-r"], question(kept)) == kept


@pytest.mark.parametrize("name", ["scienceqa", "aokvqa"])
def test_the_mark_in_a_text_is_taken_out_where_the_script_does(name: str) -> None:
    with_mark = question(" <image>\nWhich?\nA. x ")
    assert prompt_text(TASKS[name], with_mark) == "Which?\nA. x"
    assert recorded_prompt(TASKS[name], with_mark) == "<image>\nWhich?\nA. x"
    assert recorded_prompt(TASKS[name], question("Which? <image>", None)) == "Which?"


def test_the_mark_elsewhere_is_an_error_that_names_the_question() -> None:
    with pytest.raises(MergeError, match="holds <image>") as caught:
        prompt_text(TASKS["vqav2"], question("<image>\nWhich?"))
    assert "record 1" in str(caught.value)
    untouched = " Which? "
    assert prompt_text(TASKS["vqav2"], question(untouched)) == untouched
    assert recorded_prompt(TASKS["vqav2"], question(untouched)) == untouched


def sentencepiece(scheme: str) -> PreTrainedTokenizerFast:
    """Single characters as Llama's tokenizer has them, with its prefix before a text."""
    characters = sorted(set("▁\nabcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:?'"))
    vocabulary = {w: n for n, w in enumerate(["<unk>", "<s>", "</s>", "<image>", *characters])}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    if scheme == "legacy":
        made.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    made.decoder = decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )


def official(tokenize: Callable[[str], list[int]], prompt: str, bos: int) -> list[int]:
    """tokenizer_image_token of the original code, written out: -200 for an image."""
    chunks = [tokenize(piece) for piece in prompt.split("<image>")]
    ids, offset = [], 0
    if chunks and chunks[0] and chunks[0][0] == bos:
        offset = 1
        ids.append(chunks[0][0])
    separated: list[list[int]] = []
    for chunk in chunks:
        separated += [chunk, [-200] * (offset + 1)]
    for one in separated[:-1]:
        ids += one[offset:]
    return ids


@pytest.mark.parametrize("scheme", ["legacy", "first", "always"])
@pytest.mark.parametrize("image", [True, False])
def test_tokens_are_those_of_the_original_code(scheme: str, image: bool) -> None:
    tokenizer = sentencepiece(scheme)
    prompt = vicuna("What is it?\nOne word.", image)
    result = token_ids(tokenizer, prompt, image_token=3, count=4)
    wanted: list[int] = []
    for one in official(lambda text: list(tokenizer(text).input_ids), prompt, bos=1):
        wanted += [3] * 4 if one == -200 else [one]
    assert result == wanted
    assert result.count(1) == 1
    assert result.count(3) == (4 if image else 0)
    prefix = tokenizer.convert_tokens_to_ids("▁")
    if image:
        after = len(result) - result[::-1].index(3)
        assert result[after : after + 2] == [prefix, tokenizer.convert_tokens_to_ids("\n")]


def test_tokens_in_place_would_be_others() -> None:
    """Why the pieces are tokenized apart: here the prefix is only before the first of them."""
    tokenizer: Any = sentencepiece("first")
    prompt = vicuna("What?", True)
    in_place = tokenizer(prompt).input_ids
    assert token_ids(tokenizer, prompt, image_token=3, count=1) != in_place


def test_a_tokenizer_without_a_first_token() -> None:
    tokenizer = sentencepiece("first")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    result = token_ids(tokenizer, "a<image>b", image_token=3, count=2)
    a, b = (tokenizer.convert_tokens_to_ids(c) for c in "ab")
    prefix = tokenizer.convert_tokens_to_ids("▁")
    assert result == [prefix, a, 3, 3, prefix, b]
