"""Plain questions about facts, which need no image."""

from __future__ import annotations

from numpy.random import Generator

from .draws import chance, pick, some, spelled
from .facts import (
    EXACT,
    FANCY,
    GENRE,
    KIND,
    KINDS,
    MATERIAL,
    MATERIALS,
    NAMES,
    NUMBERS,
    names_of_kind,
)
from .scene import Scene
from .wording import QuestionAnswer, ask_choice, ask_number


def fact_name(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for another name of the same thing."""
    plain = pick(rng, tuple(EXACT))
    if chance(rng, 0.5):
        return QuestionAnswer(f"what is the exact name of {plain} ?", EXACT[plain])
    return QuestionAnswer(f"what is a {EXACT[plain]} ?", plain)


def fact_color(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for another word for the same color."""
    plain = pick(rng, tuple(FANCY))
    if chance(rng, 0.5):
        return QuestionAnswer(f"what is the fancy word of {plain} ?", FANCY[plain])
    return QuestionAnswer(f"what color is {FANCY[plain]} ?", plain)


def fact_kind(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for the kind of a thing, or for its material."""
    plain = pick(rng, NAMES)
    if chance(rng, 0.5):
        return QuestionAnswer(f"what kind of thing is a {plain} ?", KIND[plain])
    return QuestionAnswer(f"what is a {plain} like ?", MATERIAL[plain])


def fact_choice(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask which of three options is of a kind, or of a material."""
    if chance(rng, 0.5):
        kind = pick(rng, KINDS)
        right, wrong = names_of_kind(kind), [name for name in NAMES if KIND[name] != kind]
        question = f"which is a {kind} ?"
    else:
        material = pick(rng, MATERIALS)
        right = tuple(name for name in NAMES if MATERIAL[name] == material)
        wrong = [name for name in NAMES if MATERIAL[name] != material]
        question = f"which is {material} ?"
    answer = pick(rng, right)
    return ask_choice(rng, question, answer, (answer, *some(rng, wrong, 2)))


def fact_genre(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for the genre of books of a color."""
    plain = pick(rng, tuple(GENRE))
    return QuestionAnswer(f"what is the genre of a {plain} book ?", GENRE[plain])


def fact_sum(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for a sum of two digits."""
    first, second = int(rng.integers(7)), int(rng.integers(6))
    return ask_number(rng, f"what is {first} plus {second} ?", first + second)


def fact_number(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for a number in words."""
    number = int(rng.integers(len(NUMBERS)))
    return QuestionAnswer(f"write {spelled(str(number))} in words .", NUMBERS[number])
