"""Plain questions about the things of a scene."""

from __future__ import annotations

from collections import Counter

from numpy.random import Generator

from .draws import chance, pick, some
from .facts import (
    COLORS,
    COLUMNS,
    GROUNDS,
    KIND,
    KINDS,
    LEVELS,
    MATERIAL,
    NAMES,
    exact,
    fancy,
    level,
)
from .scene import Scene
from .wording import (
    EXACT_NAMES,
    QuestionAnswer,
    ask_choice,
    ask_name,
    ask_number,
    box_text,
    describe,
    describe_one,
    describe_two,
    distinct,
    vary_name,
)


def name(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for the name of the thing in a cell."""
    thing = pick(rng, scene.things)
    return ask_name(rng, f"what is at the {thing.place} ?", thing)


def only_name(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for the name of the only thing; for one in a cell if there are several."""
    if len(scene.things) != 1:
        return name(rng, scene)
    return ask_name(rng, pick(rng, ("what is this ?", "what object is this ?")), scene.things[0])


def color(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for the color of a thing, in plain or in fancy words."""
    if not distinct(scene):
        return count(rng, scene)
    thing = pick(rng, distinct(scene))
    question = f"what color is the {vary_name(rng, thing.name)} ?"
    if chance(rng, 0.5):
        return QuestionAnswer(f"{question} use fancy words .", fancy(thing.color))
    return QuestionAnswer(question, thing.color)


def where(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for the cell of a thing, or for its column."""
    if not distinct(scene):
        return count(rng, scene)
    thing = pick(rng, distinct(scene))
    question = f"where is the {vary_name(rng, thing.name)} ?"
    if chance(rng, 0.5):
        return QuestionAnswer(f"{question} say it roughly .", COLUMNS[thing.column])
    return QuestionAnswer(question, thing.place)


def box(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for the box of a thing: that of its cell, or the tight one."""
    thing = pick(rng, distinct(scene))
    question = pick(rng, ("give the box of the {} .", "what is the box of the {} ?"))
    question = question.format(describe(thing) if chance(rng, 0.5) else thing.name)
    if chance(rng, 0.5):
        return QuestionAnswer(f"{question} make it tight .", box_text(thing.box))
    return QuestionAnswer(question, box_text(thing.cell))


def size(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask whether a thing is small or large."""
    thing = pick(rng, distinct(scene))
    return QuestionAnswer(f"is the {vary_name(rng, thing.name)} small or large ?", thing.size)


def kind(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for the kind of the thing in a cell, or for its material."""
    thing = pick(rng, scene.things)
    if chance(rng, 0.5):
        return QuestionAnswer(
            f"what is the thing at the {thing.place} like ?", MATERIAL[thing.name]
        )
    return QuestionAnswer(f"what kind of thing is at the {thing.place} ?", KIND[thing.name])


def exists(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask whether a thing is in the scene."""
    present = [thing.name for thing in scene.things]
    target = pick(rng, present) if chance(rng, 0.5) else pick(rng, NAMES)
    return QuestionAnswer(
        f"is there a {vary_name(rng, target)} ?", "yes" if target in present else "no"
    )


def count(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for a count, in digits or in words."""
    if chance(rng, 0.3):
        question, number = "how many things are there ?", len(scene.things)
    else:
        present = [thing.name for thing in scene.things]
        target = pick(rng, present) if chance(rng, 0.9) else pick(rng, NAMES)
        question, number = f"how many {target} are there ?", present.count(target)
    return ask_number(rng, question, number)


def more(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask which of two names occurs more often."""
    counts = Counter(thing.name for thing in scene.things).most_common(2)
    if len(counts) < 2 or counts[0][1] == counts[1][1]:
        return count(rng, scene)
    first, second = some(rng, [name for name, _ in counts], 2)
    return QuestionAnswer(f"are there more {first} or {second} ?", counts[0][0])


def ground(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for the ground."""
    if scene.ground not in GROUNDS:
        return QuestionAnswer("what color is the ground ?", scene.ground)
    return QuestionAnswer("what is the ground ?", scene.ground)


def caption(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for a caption: plain, as a scene of two things, or as a view of one."""
    things = scene.things
    question = pick(rng, ("describe the picture .", "what does the picture show ?"))
    if len(things) <= 2 and scene.ground in GROUNDS and chance(rng, 0.6):
        if len(things) == 1:
            return QuestionAnswer(f"{question} as a view .", describe_one(scene))
        return QuestionAnswer(f"{question} as a scene .", describe_two(scene))
    listed = " and ".join(f"a {thing.color} {thing.name}" for thing in things[:3])
    return QuestionAnswer(
        question, f"{listed} on the {scene.ground}" if scene.ground in GROUNDS else listed
    )


def choice(rng: Generator, scene: Scene) -> QuestionAnswer:
    """Ask for one of three options."""
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
    return ask_choice(rng, question, answer, values)
