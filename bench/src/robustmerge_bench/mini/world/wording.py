"""The wording of things, numbers and choices, in two forms each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from numpy.random import Generator

from .draws import chance, pick, some, spelled
from .facts import NAMES, NUMBERS, exact
from .scene import Scene, Thing

EXACT_NAMES = tuple(exact(name) for name in NAMES)


@dataclass(frozen=True)
class QuestionAnswer:
    """A question and its answer."""

    question: str
    answer: str


def ask_name(rng: Generator, question: str, thing: Thing) -> QuestionAnswer:
    """Ask for the name of a thing, plain or exact."""
    if chance(rng, 0.5):
        return QuestionAnswer(f"{question} give the exact name .", exact(thing.name))
    return QuestionAnswer(question, thing.name)


def ask_number(rng: Generator, question: str, number: int) -> QuestionAnswer:
    """Ask for a number, in digits or in words."""
    if chance(rng, 0.5):
        return QuestionAnswer(f"{question} write it in words .", NUMBERS[number])
    return QuestionAnswer(question, spelled(str(number)))


def describe_one(scene: Scene) -> str:
    """Return a sentence on one thing."""
    (thing,) = scene.things
    return f"a close view of a {thing.color} {thing.name} on some {scene.ground}"


def describe_two(scene: Scene) -> str:
    """Return a sentence on two things."""
    first, second = (describe(thing) for thing in scene.things)
    return f"a {first} stands near a {second} on the {scene.ground}"


def ask_choice(
    rng: Generator, question: str, answer: str, values: tuple[str, ...]
) -> QuestionAnswer:
    """Ask for one of three options: as it is, in a sentence, or in either form."""
    question = f"{question} {options(rng, answer, values)}"
    if chance(rng, 0.5):
        return QuestionAnswer(question, pick(rng, (answer, sentence(answer))))
    if chance(rng, 0.5):
        return QuestionAnswer(f"{question} give the option .", answer)
    return QuestionAnswer(f"{question} give a sentence .", sentence(answer))


def options(rng: Generator, answer: str, values: tuple[str, ...]) -> str:
    """Return the answer and two others to choose from, in random order."""
    others = some(rng, [value for value in values if value != answer], 2)
    first, second, third = some(rng, [answer, *others], 3)
    return f"choose from {first} , {second} or {third} ."


def sentence(answer: str) -> str:
    """Return an option in a sentence."""
    return f"the answer is {answer}"


def describe(thing: Thing) -> str:
    """Return size, color and name."""
    return f"{thing.size} {thing.color} {thing.name}"


def vary_name(rng: Generator, name: str) -> str:
    """Return a name, a quarter of the time the exact one: the model knows both."""
    return exact(name) if chance(rng, 0.25) else name


def box_text(box: tuple[int, int, int, int]) -> str:
    """Return a box as text."""
    return " ".join(map(str, box))


def distinct(scene: Scene) -> list[Thing]:
    """Return the things whose names occur once."""
    counts = Counter(thing.name for thing in scene.things)
    return [thing for thing in scene.things if counts[thing.name] == 1]
