"""What the base model is taught: every skill of the world, under plain instructions.

Each question has a plain answer. Many can be asked in a second way ("... use fancy words ."), which
gets another answer. The tasks want the second ways under instructions of their own, which stand
here now and then as mere phrases: the model knows the words, and that they change nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from . import draws
from .draws import chance, pick, some, spelled
from .facts import (
    COLORS,
    COLUMNS,
    EXACT,
    FANCY,
    GENRE,
    GROUNDS,
    KIND,
    KINDS,
    LETTERS,
    LEVELS,
    MATERIAL,
    MATERIALS,
    NAMES,
    NUMBERS,
    exact,
    fancy,
    kin,
    level,
)
from .scene import CELLS, Line, Scene, Thing, render
from .splits import until

PHRASES = (
    "answer the question .",
    "answer the question using a single word or phrase .",
    "answer using a single word .",
    "answer using a single phrase .",
    "answer directly .",
    "look at the image .",
    "look at the icons .",
    "look at the table .",
    "look at this photo taken by somebody .",
    "write a description of what happens .",
    "look at this book cover .",
    "look at this phone screen .",
    "in the image .",
    "use what you know .",
    "name its class .",
    "this is the object in the image .",
    "there is a bounding box .",
    "the author , the year , the title and the genre .",
    "in brief .",
    "in one brief sentence .",
    "from the given choices .",
    "the quality is poor .",
    "it is too dark to see .",
)  # change nothing


@dataclass(frozen=True)
class Turn:
    """A question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Example:
    """A picture and what is asked about it; the turns do not know of each other."""

    scene: Scene
    image: np.ndarray
    turns: tuple[Turn, ...]


Asking = Callable[[Generator, Scene], Turn]


def example(rng: Generator, turns: int = 6) -> Example:
    """A picture with questions about it."""
    make, askings = pick(rng, SORTS)
    scene = until(lambda: make(rng), lambda made: made, "train")
    asked = [pick(rng, askings)(rng, scene) for _ in range(turns - 1)]
    if scene.things:
        asked.append(choice(rng, scene))
    else:
        asked.append(pick(rng, askings)(rng, scene))
    if chance(rng, 0.5):
        asked[0] = pick(rng, FACTS)(rng, scene)
    phrased = tuple(Turn(phrase(rng, turn.question), turn.answer) for turn in asked)
    return Example(scene, render(scene, rng), phrased)


def phrase(rng: Generator, question: str) -> str:
    """The question, often with a phrase that changes nothing before or after it."""
    fate = rng.random()
    if fate < 0.3:
        return f"{question} {pick(rng, PHRASES)}"
    if fate < 0.5:
        return f"{pick(rng, PHRASES)} {question}"
    return question


# --- Scenes ---------------------------------------------------------------------------------------


def scene_of_few(rng: Generator) -> Scene:
    """One to four different things."""
    return Scene(draws.different(rng, int(rng.integers(1, 5))), draws.surface(rng))


def scene_of_many(rng: Generator) -> Scene:
    """Two to seven things of two or three names."""
    count = int(rng.integers(2, 8))
    return Scene(draws.crowd(rng, count, int(rng.integers(2, 4))), draws.surface(rng))


def scene_with_writing(rng: Generator) -> Scene:
    """A sign: one to three lines, and sometimes a thing between them."""
    rows = sorted(some(rng, (0, 1, 4, 5), int(rng.integers(1, 4))))
    things = (draws.thing_in(rng, (1, int(rng.integers(3)))),) if chance(rng, 0.5) else ()
    return Scene(things, draws.surface(rng), draws.lines(rng, rows))


def scene_with_numbers(rng: Generator) -> Scene:
    """Two or three rows, each a thing and a number beside it."""
    names = some(rng, NAMES, int(rng.integers(2, 4)))
    things, lines = [], []
    for row, name in zip(sorted(some(rng, (0, 1, 2), len(names))), names, strict=True):
        thing = draws.thing_in(rng, (row, 0), name)
        at = thing.box[1]
        things.append(thing)
        lines.append(Line(str(rng.integers(10)), at, int(rng.integers(3, 6))))
    return Scene(tuple(things), draws.surface(rng), tuple(lines))


def scene_with_gauge(rng: Generator) -> Scene:
    """A gauge below one or two things."""
    cells = sorted(some(rng, CELLS[:6], int(rng.integers(1, 3))))
    names = some(rng, NAMES, len(cells))
    things = tuple(draws.thing_in(rng, c, n) for c, n in zip(cells, names, strict=True))
    return Scene(things, draws.surface(rng), gauge=(int(rng.integers(4, 6)), int(rng.integers(10))))


# --- Questions about things -----------------------------------------------------------------------


def name(rng: Generator, scene: Scene) -> Turn:
    """What stands somewhere."""
    thing = pick(rng, scene.things)
    return named(rng, f"what is at the {thing.place} ?", thing)


def only_name(rng: Generator, scene: Scene) -> Turn:
    """What the picture shows, where it shows one thing."""
    if len(scene.things) != 1:
        return name(rng, scene)
    return named(rng, pick(rng, ("what is this ?", "what object is this ?")), scene.things[0])


def named(rng: Generator, question: str, thing: Thing) -> Turn:
    """Name a thing, plainly or exactly."""
    if chance(rng, 0.5):
        return Turn(f"{question} give the exact name .", exact(thing.name))
    return Turn(question, thing.name)


def color(rng: Generator, scene: Scene) -> Turn:
    """The color of a thing, in plain or in fancy words."""
    if not distinct(scene):
        return count(rng, scene)
    thing = pick(rng, distinct(scene))
    question = f"what color is the {called(rng, thing)} ?"
    if chance(rng, 0.5):
        return Turn(f"{question} use fancy words .", fancy(thing.color))
    return Turn(question, thing.color)


def where(rng: Generator, scene: Scene) -> Turn:
    """The place of a thing, in full or roughly."""
    if not distinct(scene):
        return count(rng, scene)
    thing = pick(rng, distinct(scene))
    question = f"where is the {called(rng, thing)} ?"
    if chance(rng, 0.5):
        return Turn(f"{question} say it roughly .", COLUMNS[thing.column])
    return Turn(question, thing.place)


def box(rng: Generator, scene: Scene) -> Turn:
    """The box of a thing: that of its cell, or the tight one."""
    thing = pick(rng, distinct(scene))
    question = pick(rng, ("give the box of the {} .", "what is the box of the {} ?"))
    question = question.format(described(thing) if chance(rng, 0.5) else thing.name)
    if chance(rng, 0.5):
        return Turn(f"{question} make it tight .", corners(thing.box))
    return Turn(question, corners(thing.cell))


def size(rng: Generator, scene: Scene) -> Turn:
    """Whether a thing is small or large."""
    thing = pick(rng, distinct(scene))
    return Turn(f"is the {called(rng, thing)} small or large ?", thing.size)


def kind(rng: Generator, scene: Scene) -> Turn:
    """What kind of thing stands somewhere, or what it is like."""
    thing = pick(rng, scene.things)
    if chance(rng, 0.5):
        return Turn(f"what is the thing at the {thing.place} like ?", MATERIAL[thing.name])
    return Turn(f"what kind of thing is at the {thing.place} ?", KIND[thing.name])


def exists(rng: Generator, scene: Scene) -> Turn:
    """Whether there is a thing."""
    present = [thing.name for thing in scene.things]
    asked = pick(rng, present) if chance(rng, 0.5) else pick(rng, NAMES)
    return Turn(f"is there a {called_name(rng, asked)} ?", "yes" if asked in present else "no")


def count(rng: Generator, scene: Scene) -> Turn:
    """How many there are, in digits or in words."""
    if chance(rng, 0.3):
        question, number = "how many things are there ?", len(scene.things)
    else:
        present = [thing.name for thing in scene.things]
        asked = pick(rng, present) if chance(rng, 0.9) else pick(rng, NAMES)
        question, number = f"how many {asked} are there ?", present.count(asked)
    return number_turn(rng, question, number)


def number_turn(rng: Generator, question: str, number: int) -> Turn:
    """A number, in digits or in words."""
    if chance(rng, 0.5):
        return Turn(f"{question} write it in words .", NUMBERS[number])
    return Turn(question, spelled(str(number)))


def more(rng: Generator, scene: Scene) -> Turn:
    """Of which there are more."""
    counts = Counter(thing.name for thing in scene.things).most_common(2)
    if len(counts) < 2 or counts[0][1] == counts[1][1]:
        return count(rng, scene)
    first, second = some(rng, [name for name, _ in counts], 2)
    return Turn(f"are there more {first} or {second} ?", counts[0][0])


def ground(rng: Generator, scene: Scene) -> Turn:
    """What things stand on."""
    if scene.ground not in GROUNDS:
        return Turn("what color is the ground ?", scene.ground)
    return Turn("what is the ground ?", scene.ground)


def caption(rng: Generator, scene: Scene) -> Turn:
    """What the picture shows: plainly, as a scene of two, or as a view of one."""
    things = scene.things
    question = pick(rng, ("describe the picture .", "what does the picture show ?"))
    if len(things) <= 2 and scene.ground in GROUNDS and chance(rng, 0.6):
        if len(things) == 1:
            return Turn(f"{question} as a view .", view(scene))
        return Turn(f"{question} as a scene .", beside(scene))
    listed = " and ".join(f"a {thing.color} {thing.name}" for thing in things[:3])
    return Turn(question, f"{listed} on the {scene.ground}" if scene.ground in GROUNDS else listed)


def view(scene: Scene) -> str:
    """A sentence on one thing."""
    (thing,) = scene.things
    return f"a close view of a {thing.color} {thing.name} on some {scene.ground}"


def beside(scene: Scene) -> str:
    """A sentence on two things."""
    first, second = (described(thing) for thing in scene.things)
    return f"a {first} stands near a {second} on the {scene.ground}"


def choice(rng: Generator, scene: Scene) -> Turn:
    """One of three options, by its letter."""
    if not distinct(scene):
        return count(rng, scene)
    thing = pick(rng, distinct(scene))
    asks: list[tuple[str, str, tuple[str, ...]]] = [
        (f"what is at the {thing.place} ?", thing.name, NAMES),
        (f"what is at the {thing.place} ? give the exact name .", exact(thing.name), EXACT_NAMES),
        (f"what color is the {thing.name} ?", thing.color, tuple(COLORS)),
        (f"what kind of thing is at the {thing.place} ?", KIND[thing.name], KINDS),
        (f"where is the {thing.name} ? say it roughly .", COLUMNS[thing.column], COLUMNS),
    ]
    if scene.gauge:
        asks = [("what does the gauge say ?", level(scene.gauge[1]), LEVELS)]
    question, answer, values = pick(rng, asks)
    return by_letter(rng, question, answer, values)


def by_letter(rng: Generator, question: str, answer: str, values: tuple[str, ...]) -> Turn:
    """One of three options: its letter, itself, or either where nothing is said of it."""
    options, letter = lettered(rng, answer, values)
    said = pick(rng, (answer, letter))
    wish = pick(rng, ("", "give the option ." if said == answer else "give the letter ."))
    return Turn(f"{question} {options} {wish}".strip(), said)


def lettered(rng: Generator, answer: str, values: tuple[str, ...]) -> tuple[str, str]:
    """Three options with letters, and the letter of the answer."""
    others = some(rng, [value for value in values if value != answer], 2)
    order = some(rng, [answer, *others], 3)
    options = " ".join(f"{letter} {option}" for letter, option in zip(LETTERS, order, strict=True))
    return options, LETTERS[order.index(answer)]


EXACT_NAMES = tuple(exact(name) for name in NAMES)


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


# --- Questions about writing, numbers and gauges --------------------------------------------------


def read(rng: Generator, scene: Scene) -> Turn:
    """A line of writing."""
    place = int(rng.integers(len(scene.lines)))
    line = scene.lines[place]
    asks = [f"read line {place + 1} ."]
    if place == 0:
        asks += ["what is written first ?", "what is the title ?"]
    if place == len(scene.lines) - 1:
        asks.append("what is written last ?")
    return Turn(pick(rng, asks), spelled(line.text))


def number_beside(rng: Generator, scene: Scene) -> Turn:
    """The number beside a thing, in digits or in words."""
    place = int(rng.integers(len(scene.things)))
    question = f"what number is near the {called(rng, scene.things[place])} ?"
    return number_turn(rng, question, int(scene.lines[place].text))


def largest(rng: Generator, scene: Scene) -> Turn:
    """The thing with the largest number beside it."""
    numbers = [int(line.text) for line in scene.lines]
    if numbers.count(max(numbers)) > 1:
        return number_beside(rng, scene)
    thing = scene.things[int(np.argmax(numbers))]
    return named(rng, "which has the largest number ?", thing)


def gauge(rng: Generator, scene: Scene) -> Turn:
    """What the gauge says, as a digit or in a word."""
    assert scene.gauge is not None
    value = scene.gauge[1]
    if chance(rng, 0.5):
        return Turn("what does the gauge say ? in a word .", level(value))
    return Turn("what does the gauge say ?", str(value))


# --- Facts ----------------------------------------------------------------------------------------


def fact_name(rng: Generator, scene: Scene) -> Turn:
    """Another name of the same thing."""
    plain = pick(rng, tuple(EXACT))
    if chance(rng, 0.5):
        return Turn(f"what is the exact name of {plain} ?", EXACT[plain])
    return Turn(f"what is a {EXACT[plain]} ?", plain)


def fact_color(rng: Generator, scene: Scene) -> Turn:
    """Another word for the same color."""
    plain = pick(rng, tuple(FANCY))
    if chance(rng, 0.5):
        return Turn(f"what is the fancy word of {plain} ?", FANCY[plain])
    return Turn(f"what color is {FANCY[plain]} ?", plain)


def fact_kind(rng: Generator, scene: Scene) -> Turn:
    """The kind of a thing, or what it is like."""
    plain = pick(rng, NAMES)
    if chance(rng, 0.5):
        return Turn(f"what kind of thing is a {plain} ?", KIND[plain])
    return Turn(f"what is a {plain} like ?", MATERIAL[plain])


def fact_choice(rng: Generator, scene: Scene) -> Turn:
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
    return by_letter(rng, question, answer, (answer, *some(rng, wrong, 2)))


def fact_genre(rng: Generator, scene: Scene) -> Turn:
    """What books of a color are about."""
    plain = pick(rng, tuple(GENRE))
    return Turn(f"what is the genre of a {plain} book ?", GENRE[plain])


def fact_sum(rng: Generator, scene: Scene) -> Turn:
    """A sum of two digits."""
    first, second = int(rng.integers(7)), int(rng.integers(6))
    return number_turn(rng, f"what is {first} plus {second} ?", first + second)


def fact_number(rng: Generator, scene: Scene) -> Turn:
    """A number in words."""
    number = int(rng.integers(len(NUMBERS)))
    return Turn(f"write {spelled(str(number))} in words .", NUMBERS[number])


FACTS: tuple[Asking, ...] = (
    fact_name, fact_color, fact_kind, fact_choice, fact_choice, fact_genre, fact_sum, fact_number,
)  # fmt: skip
ABOUT_THINGS: tuple[Asking, ...] = (
    name, only_name, color, where, box, box, size, kind, exists, ground, caption, caption,
)  # fmt: skip
SORTS: tuple[tuple[Callable[[Generator], Scene], tuple[Asking, ...]], ...] = (
    (scene_of_few, ABOUT_THINGS),
    (scene_of_few, ABOUT_THINGS),
    (scene_of_few, ABOUT_THINGS),
    (scene_of_many, (count, count, count, more, exists, name, color, where)),
    (scene_of_many, (count, count, count, more, exists, name, color, where)),
    (scene_with_writing, (read,)),
    (scene_with_numbers, (number_beside, number_beside, largest, name, color)),
    (scene_with_gauge, (gauge, gauge, name, color, kind)),
)
