"""Plain questions about facts, for which no picture is needed."""

from __future__ import annotations

from numpy.random import Generator

from .draws import chance, pick, some, spelled
from .facts import EXACT, FANCY, GENRE, KIND, KINDS, MATERIAL, MATERIALS, NAMES, NUMBERS, kin
from .scene import Scene
from .wording import QuestionAnswer, chosen, number_turn


def fact_name(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Another name of the same thing."""
    plain = pick(rng, tuple(EXACT))
    if chance(rng, 0.5):
        return QuestionAnswer(f"what is the exact name of {plain} ?", EXACT[plain])
    return QuestionAnswer(f"what is a {EXACT[plain]} ?", plain)


def fact_color(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Another word for the same color."""
    plain = pick(rng, tuple(FANCY))
    if chance(rng, 0.5):
        return QuestionAnswer(f"what is the fancy word of {plain} ?", FANCY[plain])
    return QuestionAnswer(f"what color is {FANCY[plain]} ?", plain)


def fact_kind(rng: Generator, scene: Scene) -> QuestionAnswer:
    """The kind of a thing, or what it is like."""
    plain = pick(rng, NAMES)
    if chance(rng, 0.5):
        return QuestionAnswer(f"what kind of thing is a {plain} ?", KIND[plain])
    return QuestionAnswer(f"what is a {plain} like ?", MATERIAL[plain])


def fact_choice(rng: Generator, scene: Scene) -> QuestionAnswer:
    """One of three options that is of a kind, or like something."""
    if chance(rng, 0.5):
        asked = pick(rng, KINDS)
        right, wrong = kin(asked), [name for name in NAMES if KIND[name] != asked]
        question = f"which is a {asked} ?"
    else:
        asked = pick(rng, MATERIALS)
        right = tuple(name for name in NAMES if MATERIAL[name] == asked)
        wrong = [name for name in NAMES if MATERIAL[name] != asked]
        question = f"which is {asked} ?"
    answer = pick(rng, right)
    return chosen(rng, question, answer, (answer, *some(rng, wrong, 2)))


def fact_genre(rng: Generator, scene: Scene) -> QuestionAnswer:
    """What books of a color are about."""
    plain = pick(rng, tuple(GENRE))
    return QuestionAnswer(f"what is the genre of a {plain} book ?", GENRE[plain])


def fact_sum(rng: Generator, scene: Scene) -> QuestionAnswer:
    """A sum of two digits."""
    first, second = int(rng.integers(7)), int(rng.integers(6))
    return number_turn(rng, f"what is {first} plus {second} ?", first + second)


def fact_number(rng: Generator, scene: Scene) -> QuestionAnswer:
    """A number in words."""
    number = int(rng.integers(len(NUMBERS)))
    return QuestionAnswer(f"write {spelled(str(number))} in words .", NUMBERS[number])
