"""Plain questions that the joined model is trained on before there are experts.

Their answers are short and without the formats of the tasks. Scenes are those of the train split.
"""

from __future__ import annotations

from collections.abc import Callable

from numpy.random import Generator

from ...item import Item
from ..images.arrange import Arrangement, in_grid
from ..images.compose import SIDE, with_article
from ..images.splits import Split
from ._task import ImageQuestion, draw_item
from .pool import LIGHT, Pool, options, pick, some
from .seen import alone, quadrants

NAME = "generic"


def draw_generic(rng: Generator, pool: Pool) -> Item:
    """Draw a question of any sort on a scene of the train split."""
    return draw_item(rng, pick(rng, SORTS), pool, "train", NAME)


def _scene(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    del split
    scene, cells = quadrants(rng, pool, int(rng.integers(1, 5)))
    which = int(rng.integers(len(cells)))
    name = scene.names[which]
    ten = [round(10 * value / SIDE) for value in scene.things[which].box]
    kind, question, answer = pick(
        rng,
        (
            ("color", "What color is the background?", scene.ground),
            ("where", f"Where is the {name}?", f"at the {cells[which]}"),
            ("what", f"What is at the {cells[which]}?", with_article(name)),
            ("count", "How many things are there?", str(len(cells))),
            ("exists", f"Is there {with_article(name)}?", "yes"),
            ("box", f"How far does the {name} reach?", " ".join(map(str, ten))),
        ),
    )
    if kind == "exists" and rng.random() < 0.5:
        other = pick(rng, pool.drawings).name
        question = f"Is there {with_article(other)}?"
        answer = "yes" if other in scene.names else "no"
    return ImageQuestion(kind, scene, question, answer)


def _list(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    del split
    scene, _ = quadrants(rng, pool, int(rng.integers(1, 4)))
    names = ", ".join(map(with_article, scene.names))
    return ImageQuestion("list", scene, "What is in the picture?", names)


def _name(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    if rng.random() < 0.5:
        photo = pool.photo(rng, split)
        scene = alone(rng, photo)
        return ImageQuestion("garment", scene, "What is this?", photo.name.lower(), own_split=True)
    drawing = pick(rng, pool.clip_art.drawings[split])
    return ImageQuestion(
        "topic", alone(rng, drawing), "What is this about?", drawing.name, own_split=True
    )


def _flag(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    del split
    flag = pick(rng, pool.flags)
    if rng.random() < 0.5:
        text, _ = options(rng, flag.name, [each.name for each in pool.flags])
        return ImageQuestion("flag", alone(rng, flag), f"Which of these is it? {text}", flag.name)
    return ImageQuestion("flag", alone(rng, flag), "Whose flag is this?", flag.name)


def _icons(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    del split
    icon = pool.icons[pick(rng, sorted(pool.icons))]
    count = int(rng.integers(1, 9))
    cells = sorted(some(rng, range(9), count))
    scene = Arrangement(in_grid(rng, [icon] * count, 3, 3, cells), pick(rng, LIGHT))
    answer = f"{count} x {icon.name}"
    return ImageQuestion("icons", scene, "Which icons are there?", answer)


SORTS: tuple[Callable[[Generator, Pool, Split], ImageQuestion], ...] = (
    *(_scene, _scene, _scene),
    *(_list, _name, _flag, _icons),
)
"""Sorts of questions; questions on scenes are asked three times as often."""
