"""Other wordings of the seen tasks' instructions, in words that the base model knows.

The benchmark has one fixed instruction a task, which makes its tasks easy to distinguish.

    own        that instruction
    varied     the instruction and two others in turn
    held-out   a third other one, which no prompt of `varied` has
    captions   viz and flk share the whole prompt: only the picture says which task it is
    words      vqa and ico share the instruction; their questions differ in part
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from robustmerge_bench.item import Item

Wording = Callable[[Item, int], Item]
"""(item, its number) -> the item with another prompt."""

OTHERS: Mapping[str, Mapping[str, tuple[str, str, str]]] = {
    "sqa": {
        "answer with the choice .": (
            "say which choice .",
            "name the choice .",
            "answer from the choices .",
        )
    },
    "viz": {
        "describe the picture . look at this photo taken by somebody . in brief .": (
            "look at the photo . describe it in brief .",
            "what is in this photo ? describe it .",
            "this photo is taken by somebody . what does it show ?",
        )
    },
    "imn": {
        "what is the object in the image ? name its class .": (
            "name the class of the object .",
            "what class is the object ?",
            "give the class of the thing in the image .",
        )
    },
    "vqa": {
        "answer the question using a single word or phrase .": (
            "answer using a word or a phrase .",
            "use a single word or phrase .",
            "give a word or phrase .",
        )
    },
    "ico": {
        "look at the icons .": ("see the icons .", "read the icons .", "look at icons ."),
        "answer using a single word .": (
            "use a single word .",
            "answer in a word .",
            "write a single word .",
        ),
    },
    "flk": {
        "what does the picture show ? write a description of what happens .": (
            "write what happens in the picture .",
            "what happens in the picture ? write a description .",
            "describe what happens in the picture .",
        )
    },
    "rec": {
        "give the bounding box of the": (
            "what is the bounding box of the",
            "write the bounding box of the",
            "where is the",
        ),
        "in the image .": ("?", ".", "? give its bounding box ."),
    },
    "ocr": {
        "look at this book cover .": (
            "see this book cover .",
            "read the book cover .",
            "this is a book cover .",
        ),
        "answer using a single phrase .": (
            "use a phrase .",
            "answer in a phrase .",
            "write a single phrase .",
        ),
    },
}
"""What each task's prompts have, and other ways to say it."""


def reworded(item: Item, number: int) -> Item:
    """Return an item with its instruction in one of the other wordings, counted from 1."""
    prompt = item.prompt
    for own, others in OTHERS[item.task].items():
        assert own in prompt, f"{item.task}: {prompt}"
        prompt = prompt.replace(own, others[number - 1])
    return replace(item, prompt=prompt)


def _varied(item: Item, number: int) -> Item:
    return reworded(item, number % 3) if number % 3 else item


def _captions(item: Item, number: int) -> Item:
    return replace(item, prompt="describe the picture .") if item.task in ("viz", "flk") else item


def _words(item: Item, number: int) -> Item:
    prompt = item.prompt.removeprefix("look at the icons . ") if item.task == "ico" else item.prompt
    (instruction,) = OTHERS["vqa"]
    return replace(item, prompt=prompt.replace(instruction, "answer using a single word ."))


WORDINGS: Mapping[str, Wording] = {
    "own": lambda item, number: item,
    "varied": _varied,
    "held-out": lambda item, number: reworded(item, 3),
    "captions": _captions,
    "words": _words,
}
