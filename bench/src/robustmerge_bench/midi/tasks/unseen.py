"""The four tasks without an expert: each requires what several experts know."""

from __future__ import annotations

from numpy.random import Generator

from ..images.arrange import Arrangement, in_grid
from ..images.compose import LIGHT, with_article
from ..images.splits import Split
from ._task import ImageQuestion
from .pool import Pool, options, pick, some
from .seen import GROUNDS, NUMBERS, quadrants


def choices(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    """Ask as in flags for a letter, about scenes as in vqa."""
    del split
    scene, cells = quadrants(rng, pool, int(rng.integers(2, 5)))
    which = int(rng.integers(len(cells)))
    names = [drawing.name for drawing in pool.drawings]
    sort, question, answer, values = pick(
        rng,
        (
            ("what", f"What is at the {cells[which]}?", scene.names[which], names),
            ("color", "What color is the background?", scene.ground, GROUNDS),
        ),
    )
    text, letter = options(rng, answer, values)
    return ImageQuestion(sort, scene, f"{question} {text} Answer with the letter.", letter)


def renditions(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    """Ask for names as in garments and clip art, of icons, with the looks of bad pictures."""
    del split
    icon = pool.icons[pick(rng, sorted(pool.icons))]
    look = pick(rng, ("plain", "blurred", "turned", "gray"))
    scene = Arrangement(in_grid(rng, [icon], 1, 1, [0]), pick(rng, LIGHT), look)
    question = "What is the object in the image? Name its class."
    return ImageQuestion(look, scene, question, icon.name)


def screens(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    """Ask for a sentence as in captions, about a screen with a flag and two icons."""
    del split
    flag = pick(rng, pool.flags)
    icons = [pool.icons[name] for name in some(rng, sorted(pool.icons), 2)]
    scene = Arrangement(in_grid(rng, [flag, *icons], 2, 2, [0, 2, 3]), pick(rng, LIGHT))
    first, second = map(with_article, scene.names[1:])
    answer, other = (
        f"A screen with the flag of {flag.name}, {left} and {right}."
        for left, right in ((first, second), (second, first))
    )
    question = "Describe the screen in one sentence."
    return ImageQuestion("screen", scene, question, answer, (answer, other))


def rows(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    """Ask how many drawings are in a row, in words as for icons, and which row is the longest."""
    del split
    kinds = some(rng, pool.drawings, 3)
    counts = [int(count) for count in some(rng, range(1, 5), 3)]
    things = [kind for kind, count in zip(kinds, counts, strict=True) for _ in range(count)]
    cells = [4 * row + column for row, count in enumerate(counts) for column in range(count)]
    scene = Arrangement(in_grid(rng, things, 4, 3, cells), pick(rng, GROUNDS))
    which = int(rng.integers(3))
    sort, question, answer = pick(
        rng,
        (
            ("count", f"How many times is the {kinds[which].name} there?", NUMBERS[counts[which]]),
            ("most", "Which thing is there most often?", kinds[counts.index(max(counts))].name),
        ),
    )
    return ImageQuestion(sort, scene, f"Look at the table. {question} Answer in words.", answer)
