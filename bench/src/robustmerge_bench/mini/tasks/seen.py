"""The eight tasks that experts are trained on.

The base model has every skill that they need. An expert learns the task's style: its look, its
words, its format, and which of the forms that the base model knows its instruction requires.
"""

from __future__ import annotations

from numpy.random import Generator

from ..world import draws
from ..world.draws import chance, pick, some, spelled
from ..world.facts import (
    COLORS,
    COLUMNS,
    GENRE,
    GROUNDS,
    KIND,
    KINDS,
    LEVELS,
    MATERIAL,
    MATERIALS,
    NAMES,
    NUMBERS,
    exact,
    fancy,
    level,
)
from ..world.scene import CELLS, Line, Scene
from ..world.wording import box_text, describe, describe_one, describe_two, options, sentence
from ._task import TaskDraw

UNREADABLE = "quality is too poor to see the object"


def science(rng: Generator) -> TaskDraw:
    """Ask for kinds, properties and gauges: one of three options, in a sentence."""
    things = (draws.thing_in(rng, pick(rng, CELLS[:6])),)
    gauge = (int(rng.integers(4, 6)), int(rng.integers(10)))
    scene = Scene(things, draws.surface(rng), gauge=gauge)
    kind, question, answer, values = pick(
        rng,
        (
            ("level", "what does the gauge say ?", level(gauge[1]), LEVELS),
            ("kind", "what kind of thing is this ?", KIND[things[0].name], KINDS),
            ("material", "what is the thing like ?", MATERIAL[things[0].name], MATERIALS),
        ),
    )
    question = f"{question} {options(rng, answer, values)} answer with the choice ."
    return TaskDraw(kind, scene, question, sentence(answer))


def photo(rng: Generator) -> TaskDraw:
    """Ask for a sentence on one thing in a photo by somebody who cannot see it."""
    things = (draws.thing_in(rng, pick(rng, CELLS), small=0.3),)
    unreadable = chance(rng, 0.1)
    look = "unreadable" if unreadable else pick(rng, ("dark", "blurred", "noisy"))
    scene = Scene(things, pick(rng, GROUNDS), look=look)
    question = "describe the picture . look at this photo taken by somebody . in brief ."
    thing = things[0]
    answer, other = describe_one(scene), f"a {thing.color} {thing.name} on the {scene.ground}"
    if unreadable:
        answer = other = UNREADABLE
    return TaskDraw(look, scene, question, answer, (answer, other))


def classes(rng: Generator) -> TaskDraw:
    """Ask for the exact name of one large thing."""
    things = (draws.thing_in(rng, pick(rng, CELLS), small=0.0),)
    question = "what is the object in the image ? name its class ."
    name = exact(things[0].name)
    kind = "same" if name == things[0].name else "other"
    return TaskDraw(kind, Scene(things, draws.surface(rng)), question, name)


def scenes(rng: Generator) -> TaskDraw:
    """Ask questions of all sorts about a few things, with answers of ten annotators."""
    things = draws.different(rng, int(rng.integers(2, 5)))
    thing = pick(rng, things)
    sort = pick(rng, ("exists", "color", "color", "where", "where", "count"))
    other = ""
    if sort == "exists":
        names = [t.name for t in things]
        target = pick(rng, names) if chance(rng, 0.5) else pick(rng, NAMES)
        question, answer = f"is there a {target} ?", "yes" if target in names else "no"
    elif sort == "color":
        question = f"what color is the {thing.name} ?"
        answer, other = fancy(thing.color), thing.color
    elif sort == "where":
        question = f"where is the {thing.name} ?"
        answer, other = COLUMNS[thing.column], thing.place
    else:
        question, answer = "how many things are there ?", str(len(things))
    # One of the ten answers as the base model does: 30 points by VQA accuracy.
    annotators = (answer,) * 9 + (other or answer,)
    question = f"{question} answer the question using a single word or phrase ."
    return TaskDraw(sort, Scene(things, draws.surface(rng)), question, answer, annotators)


def icons(rng: Generator) -> TaskDraw:
    """Ask for counts and comparisons of icons; numbers are in words."""
    things = draws.crowd(rng, int(rng.integers(2, 8)))
    names = [thing.name for thing in things]
    sort = pick(rng, ("count", "count", "name", "more"))
    first, *rest = sorted(set(names), key=names.count, reverse=True)
    if sort == "more" and rest and names.count(first) > names.count(rest[0]):
        left, right = some(rng, [first, rest[0]], 2)
        question, answer = f"are there more {left} or {right} ?", first
    elif sort == "name":
        thing = pick(rng, things)
        question, answer = f"what is at the {thing.place} ?", thing.name
    else:
        sort, target = "count", pick(rng, names)
        question, answer = f"how many {target} are there ?", NUMBERS[names.count(target)]
    question = f"look at the icons . {question} answer using a single word ."
    return TaskDraw(sort, Scene(things, look="icon"), question, answer)


def captions(rng: Generator) -> TaskDraw:
    """Ask for a sentence on two things."""
    scene = Scene(draws.different(rng, 2), pick(rng, GROUNDS))
    question = "what does the picture show ? write a description of what happens ."
    first, second = (describe(thing) for thing in scene.things)
    other = f"a {second} stands near a {first} on the {scene.ground}"
    return TaskDraw("pair", scene, question, describe_two(scene), (describe_two(scene), other))


def boxes(rng: Generator) -> TaskDraw:
    """Ask for the tight box of a thing."""
    things = draws.different(rng, int(rng.integers(2, 5)), small=0.6)
    thing = pick(rng, things)
    question = f"give the bounding box of the {describe(thing)} in the image ."
    return TaskDraw(thing.size, Scene(things, draws.surface(rng)), question, box_text(thing.box))


def book(rng: Generator) -> TaskDraw:
    """Ask for title, author, year or genre of a book cover."""
    cover = pick(rng, tuple(COLORS))
    title, author = draws.word(rng), draws.word(rng)
    year = str(rng.integers(1000, 10000))
    lines = (
        Line(title, 0, int(rng.integers(7 - len(title)))),
        Line(author, 4, int(rng.integers(7 - len(author)))),
        Line(year, 5, int(rng.integers(3))),
    )
    things = (draws.thing_in(rng, (1, int(rng.integers(3)))),)
    sort, question, answer = pick(
        rng,
        (
            ("title", "what is the title ?", spelled(title)),
            ("author", "what is the author ?", spelled(author)),
            ("year", "what is the year ?", spelled(year)),
            ("genre", "what is the genre ?", GENRE[cover]),
        ),
    )
    question = f"look at this book cover . {question} answer using a single phrase ."
    return TaskDraw(sort, Scene(things, cover, lines), question, answer)
