"""Plain questions that the joined model is trained on before there are experts.

Their answers are short; the formats of the tasks are absent, but for counts in words and letters of
options, which a real model knows, too. Several questions are asked about one image, of the train
split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numpy.random import Generator

from ...item import Item
from ..images.arrange import Arrangement, in_grid
from ..images.compose import SIDE, with_article
from ..images.splits import Split
from ._task import ImageQuestion, draw_items
from .pool import LIGHT, Pool, options, pick, some
from .seen import NUMBERS, alone, quadrants

NAME = "generic"
QUESTIONS = 4  # about a scene
IN_WORDS, BY_LETTER = "Answer in words.", "Answer with the letter."

Pair = tuple[str, str, str]  # kind, question and answer


def draw_generic(rng: Generator, pool: Pool) -> list[Item]:
    """Draw questions about an image of any sort, of the train split."""
    return draw_items(rng, pick(rng, SORTS), pool, "train", NAME)


def _scene(rng: Generator, pool: Pool, split: Split) -> list[ImageQuestion]:
    del split
    scene, cells = quadrants(rng, pool, int(rng.integers(1, 5)))
    names = [drawing.name for drawing in pool.drawings]
    pairs = [_ground(scene), *_count(rng, len(cells), "things"), _exists(rng, scene, names)]
    for thing, cell in zip(scene.things, cells, strict=True):
        name = thing.depiction.name
        ten = [10 * round(10 * value / SIDE) for value in thing.box]
        choice, letter = options(rng, name, names)
        pairs += [
            ("where", f"Where is the {name}?", f"at the {cell}"),
            ("what", f"What is at the {cell}?", with_article(name)),
            ("box", f"How far does the {name} reach?", " ".join(map(str, ten))),
            ("letter", f"Which of these is at the {cell}? {choice} {BY_LETTER}", letter),
        ]
    things = ", ".join(map(with_article, scene.names))
    pairs.append(("list", "What is in the picture?", things))
    return _ask(scene, some(rng, pairs, QUESTIONS))


def _name(rng: Generator, pool: Pool, split: Split) -> list[ImageQuestion]:
    if rng.random() < 0.5:
        photo = pool.photo(rng, split)
        scene, pair = alone(rng, photo), ("garment", "What is this?", photo.name.lower())
    else:
        drawing = pick(rng, pool.clip_art.drawings[split])
        scene, pair = alone(rng, drawing), ("topic", "What is this about?", drawing.name)
    return _ask(scene, [pair, _ground(scene)], own_split=True)


def _flag(rng: Generator, pool: Pool, split: Split) -> list[ImageQuestion]:
    del split
    flag = pick(rng, pool.flags)
    scene = alone(rng, flag)
    choice, _ = options(rng, flag.name, [each.name for each in pool.flags])
    pairs = [
        ("flag", "Whose flag is this?", flag.name),
        ("flag", f"Which of these is it? {choice}", flag.name),
        _ground(scene),
    ]
    return _ask(scene, some(rng, pairs, 2))


def _icons(rng: Generator, pool: Pool, split: Split) -> list[ImageQuestion]:
    del split
    first, second = (pool.icons[name] for name in some(rng, sorted(pool.icons), 2))
    count = int(rng.integers(1, 9))
    fewer = int(rng.integers(0, count)) if rng.random() < 0.5 else 0
    things = some(rng, [first] * (count - fewer) + [second] * fewer, count)
    cells = sorted(some(rng, range(9), count))
    scene = Arrangement(in_grid(rng, things, 3, 3, cells), pick(rng, LIGHT))
    shown = sorted({first.name, second.name} & set(scene.names), key=scene.names.index)
    answer = ", ".join(f"{scene.names.count(name)} x {name}" for name in shown)
    pairs = [("icons", "Which icons are there?", answer), *_count(rng, count, "icons")]
    return _ask(scene, pairs)


def _ground(scene: Arrangement) -> Pair:
    return "color", "What color is the background?", scene.ground


def _count(rng: Generator, count: int, what: str) -> list[Pair]:
    """Ask for a count, in digits or in words."""
    question = f"How many {what} are there?"
    if rng.random() < 0.5:
        return [("count", question, str(count))]
    return [("count", f"{question} {IN_WORDS}", NUMBERS[count])]


def _exists(rng: Generator, scene: Arrangement, names: Sequence[str]) -> Pair:
    name = pick(rng, scene.names if rng.random() < 0.5 else names)
    return "exists", f"Is there {with_article(name)}?", "yes" if name in scene.names else "no"


def _ask(
    scene: Arrangement, pairs: Sequence[Pair], *, own_split: bool = False
) -> list[ImageQuestion]:
    return [
        ImageQuestion(kind, scene, question, answer, own_split=own_split)
        for kind, question, answer in pairs
    ]


SORTS: tuple[Callable[[Generator, Pool, Split], Sequence[ImageQuestion]], ...] = (
    *(_scene, _scene, _scene),
    *(_name, _flag, _icons),
)
"""Sorts of images; half of them are scenes."""
