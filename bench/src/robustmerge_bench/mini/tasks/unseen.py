"""The four tasks without an expert: each requires what several experts know."""

from __future__ import annotations

from numpy.random import Generator

from ..world import draws
from ..world.draws import pick, some, spelled
from ..world.facts import (
    COLORS,
    COLUMNS,
    GROUNDS,
    MATERIAL,
    MATERIALS,
    NAMES,
    NUMBERS,
    exact,
    fancy,
)
from ..world.scene import CELLS, Line, Scene
from ..world.wording import EXACT_NAMES, describe_two, options, sentence
from ._task import TaskDraw


def knowledge(rng: Generator) -> TaskDraw:
    """Ask as in science; names, colors and cells are in the words of classes and scenes."""
    things = draws.different(rng, int(rng.integers(2, 5)))
    thing = pick(rng, things)
    kind, question, answer, values = pick(
        rng,
        (
            ("name", f"what is at the {thing.place} ?", exact(thing.name), EXACT_NAMES),
            ("color", f"what color is the {thing.name} ?", fancy(thing.color), FANCY_COLORS),
            ("where", f"where is the {thing.name} ?", COLUMNS[thing.column], COLUMNS),
            (
                "material",
                f"what is the thing at the {thing.place} like ?",
                MATERIAL[thing.name],
                MATERIALS,
            ),
        ),
    )
    question = (
        f"{question} {options(rng, answer, values)} use what you know . answer with the choice ."
    )
    return TaskDraw(kind, Scene(things, draws.surface(rng)), question, sentence(answer))


def renditions(rng: Generator) -> TaskDraw:
    """Ask for exact names as in classes, in the looks of icons and photos, and in new ones."""
    things = (draws.thing_in(rng, pick(rng, CELLS), small=0.3),)
    look = pick(rng, ("icon", "dark", "noisy", "inverted", "mono", "coarse"))
    # An icon has no ground; two grounds would put one image in two splits.
    scene = Scene(things, "snow" if look == "icon" else draws.surface(rng), look=look)
    question = "what is this object in the image ? name its class ."
    return TaskDraw(look, scene, question, exact(things[0].name))


def screens(rng: Generator) -> TaskDraw:
    """Ask for writing as on books, with a sentence as in captions."""
    cells = sorted(some(rng, CELLS[3:], 2))
    names = some(rng, NAMES, 2)
    things = tuple(draws.thing_in(rng, c, n) for c, n in zip(cells, names, strict=True))
    title = draws.word(rng, 3, 4)
    scene = Scene(things, pick(rng, GROUNDS), (Line(title, 0, int(rng.integers(3))),))
    question = "describe the picture . look at this phone screen . in one brief sentence ."
    answer = f"the title {spelled(title)} and {describe_two(scene)}"
    other = f"{describe_two(scene)} and the title {spelled(title)}"
    return TaskDraw("screen", scene, question, answer, (answer, other))


def tables(rng: Generator) -> TaskDraw:
    """Ask for numbers in words and names as for icons, in rows of a table."""
    names = some(rng, NAMES, 3)
    things = tuple(draws.thing_in(rng, (row, 0), name) for row, name in enumerate(names))
    numbers = some(rng, range(10), 3)
    lines = tuple(
        Line(str(number), thing.box[1], int(rng.integers(3, 6)))
        for number, thing in zip(numbers, things, strict=True)
    )
    scene = Scene(things, draws.surface(rng), lines)
    if draws.chance(rng, 0.6):
        row = int(rng.integers(3))
        sort, question = "number", f"what number is near the {names[row]} ?"
        answer = NUMBERS[numbers[row]]
    else:
        sort, question = "largest", "which has the largest number ?"
        answer = names[numbers.index(max(numbers))]
    return TaskDraw(
        sort, scene, f"look at the table . {question} answer using a single word .", answer
    )


FANCY_COLORS = tuple(fancy(color) for color in COLORS)
