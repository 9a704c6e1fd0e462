"""How things, numbers and choices are put into words, in one way or the other."""

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


def named(rng: Generator, question: str, thing: Thing) -> QuestionAnswer:
    """Name a thing, plainly or exactly."""
    if chance(rng, 0.5):
        return QuestionAnswer(f"{question} give the exact name .", exact(thing.name))
    return QuestionAnswer(question, thing.name)


def number_turn(rng: Generator, question: str, number: int) -> QuestionAnswer:
    """A number, in digits or in words."""
    if chance(rng, 0.5):
        return QuestionAnswer(f"{question} write it in words .", NUMBERS[number])
    return QuestionAnswer(question, spelled(str(number)))


def view(scene: Scene) -> str:
    """A sentence on one thing."""
    (thing,) = scene.things
    return f"a close view of a {thing.color} {thing.name} on some {scene.ground}"


def beside(scene: Scene) -> str:
    """A sentence on two things."""
    first, second = (described(thing) for thing in scene.things)
    return f"a {first} stands near a {second} on the {scene.ground}"


def chosen(rng: Generator, question: str, answer: str, values: tuple[str, ...]) -> QuestionAnswer:
    """One of three options: as it is, in a sentence, or either where nothing is said of it."""
    asked = f"{question} {options(rng, answer, values)}"
    if chance(rng, 0.5):
        return QuestionAnswer(asked, pick(rng, (answer, sentence(answer))))
    if chance(rng, 0.5):
        return QuestionAnswer(f"{asked} give the option .", answer)
    return QuestionAnswer(f"{asked} give a sentence .", sentence(answer))


def options(rng: Generator, answer: str, values: tuple[str, ...]) -> str:
    """The answer and two others to choose from, in random order."""
    others = some(rng, [value for value in values if value != answer], 2)
    first, second, third = some(rng, [answer, *others], 3)
    return f"choose from {first} , {second} or {third} ."


def sentence(answer: str) -> str:
    """The option in a sentence."""
    return f"the answer is {answer}"


def described(thing: Thing) -> str:
    """Size, color and name."""
    return f"{thing.size} {thing.color} {thing.name}"


def called(rng: Generator, thing: Thing) -> str:
    """A thing's name, plain or exact: the model understands both."""
    return called_name(rng, thing.name)


def called_name(rng: Generator, name: str) -> str:
    """A name, now and then the exact one."""
    return exact(name) if chance(rng, 0.25) else name


def corners(box: tuple[int, int, int, int]) -> str:
    """A box in words."""
    return " ".join(map(str, box))


def distinct(scene: Scene) -> list[Thing]:
    """The things whose names occur once."""
    counts = Counter(thing.name for thing in scene.things)
    return [thing for thing in scene.things if counts[thing.name] == 1]
