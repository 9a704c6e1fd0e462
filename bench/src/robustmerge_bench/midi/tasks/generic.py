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
from .phrasing import word
from .pool import LIGHT, Pool, options, pick, some
from .seen import GROUNDS, NUMBERS, alone, quadrants

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
    things = [with_article(name) for name in scene.names]
    pairs = [
        _ground(rng, scene),
        _count(rng, len(cells), "things"),
        _exists(rng, scene, names),
        ("list", word(rng, "list"), ", ".join(things)),
        _caption(rng, scene, things),
        _letter(rng, word(rng, "color"), scene.ground, GROUNDS),
    ]
    for thing, cell in zip(scene.things, cells, strict=True):
        name = thing.depiction.name
        tens = " ".join(str(10 * round(10 * value / SIDE)) for value in thing.box)
        pairs += [
            ("where", word(rng, "where", name), f"at the {cell}"),
            ("what", word(rng, "what", cell), with_article(name)),
            ("box", word(rng, "box", name), tens),
            _letter(rng, word(rng, "what", cell), name, names),
        ]
    return _ask(scene, some(rng, pairs, QUESTIONS))


def _object(rng: Generator, pool: Pool, split: Split) -> list[ImageQuestion]:
    del split
    drawing = pick(rng, (pick(rng, pool.drawings), pool.icons[pick(rng, sorted(pool.icons))]))
    icon = drawing in pool.icons.values()
    ground = pick(rng, LIGHT if icon else GROUNDS)
    scene = Arrangement(in_grid(rng, [drawing], 1, 1, [0]), ground)
    caption = _caption(rng, scene, [with_article(drawing.name)])
    other = pick(rng, (_ground(rng, scene), caption))
    return _ask(scene, [("name", word(rng, "name"), drawing.name), other])


def _class(rng: Generator, pool: Pool, split: Split) -> list[ImageQuestion]:
    if rng.random() < 0.5:
        photo = pool.photo(rng, split)
        name = photo.name.lower()
        scene, pair = alone(rng, photo), ("garment", word(rng, "name"), name)
    else:
        drawing = pick(rng, pool.clip_art.drawings[split])
        scene, pair = alone(rng, drawing), ("topic", word(rng, "topic"), drawing.name)
    return _ask(scene, [pair, _ground(rng, scene)], own_split=True)


def _flag(rng: Generator, pool: Pool, split: Split) -> list[ImageQuestion]:
    del split
    flag = pick(rng, pool.flags)
    scene = alone(rng, flag)
    pairs = [
        ("flag", word(rng, "flag"), flag.name),
        _letter(rng, word(rng, "flag"), flag.name, [each.name for each in pool.flags]),
        _caption(rng, scene, [f"the flag of {flag.name}"]),
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
    counts = {name: scene.names.count(name) for name in dict.fromkeys(scene.names)}
    chosen = pick(rng, sorted(counts))
    pairs = [
        ("icons", word(rng, "icons"), ", ".join(f"{n} x {name}" for name, n in counts.items())),
        _count(rng, count, "icons"),
        _count(rng, counts[chosen], f"icons of {with_article(chosen)}"),
        _caption(rng, scene, [with_article(name) for name in counts]),
    ]
    return _ask(scene, some(rng, pairs, 3))


def _ground(rng: Generator, scene: Arrangement) -> Pair:
    return "color", word(rng, "color"), scene.ground


def _caption(rng: Generator, scene: Arrangement, things: Sequence[str]) -> Pair:
    text = f"{' and '.join(things)} on a {scene.ground} background."
    return "caption", word(rng, "caption"), text[0].upper() + text[1:]


def _letter(rng: Generator, question: str, answer: str, values: Sequence[str]) -> Pair:
    """Ask a question with options, for the letter or for the option itself."""
    listed, letter = options(rng, answer, values)
    if rng.random() < 0.25:
        return "option", f"{question} {listed}", answer
    return "letter", f"{question} {listed} {BY_LETTER}", letter


def _count(rng: Generator, count: int, what: str) -> Pair:
    """Ask for a count, in digits or in words."""
    question = word(rng, "count", what)
    if rng.random() < 0.5:
        return "count", question, str(count)
    return "count", f"{question} {IN_WORDS}", NUMBERS[count]


def _exists(rng: Generator, scene: Arrangement, names: Sequence[str]) -> Pair:
    name = pick(rng, scene.names if rng.random() < 0.5 else names)
    answer = "yes" if name in scene.names else "no"
    return "exists", word(rng, "exists", with_article(name)), answer


def _ask(
    scene: Arrangement, pairs: Sequence[Pair], *, own_split: bool = False
) -> list[ImageQuestion]:
    return [
        ImageQuestion(kind, scene, question, answer, own_split=own_split)
        for kind, question, answer in pairs
    ]


SORTS: tuple[Callable[[Generator, Pool, Split], Sequence[ImageQuestion]], ...] = (
    *(_scene, _scene, _scene),
    *(_object, _class, _flag, _icons),
)
"""Sorts of images; three of seven are scenes."""
