"""Plain questions that the joined model is trained on before there are experts.

Their answers are short; the formats of the tasks are absent, but for counts in words and letters of
options, which a real model knows, too. Topics of clip art are left to an expert; boxes are rare and
in tens. Several questions are asked about one image, of the train split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numpy.random import Generator

from ...item import Item
from ..images.arrange import Arrangement, Placed, in_grid
from ..images.compose import LIGHT, SIDE, with_article
from ..images.splits import Split
from ._task import ImageQuestion, draw_items
from .phrasing import word
from .pool import Pool, options, pick, some
from .seen import GROUNDS, NUMBERS, alone, quadrants

NAME = "generic"
QUESTIONS = 4  # about a scene
BOXES = 0.5  # of the scenes have a box among what may be asked
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
        pairs += [
            ("where", word(rng, "where", name), f"at the {cell}"),
            ("what", word(rng, "what", cell), with_article(name)),
            _letter(rng, word(rng, "what", cell), name, names),
        ]
    if rng.random() < BOXES:
        pairs.append(_box(rng, pick(rng, scene.things)))
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


def _garment(rng: Generator, pool: Pool, split: Split) -> list[ImageQuestion]:
    photo = pool.photo(rng, split)
    scene = alone(rng, photo)
    pair = ("garment", word(rng, "name"), photo.name.lower())
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
    side = int(rng.integers(2, 4))
    count = int(rng.integers(1, side * side + 1))
    fewer = int(rng.integers(0, count)) if rng.random() < 0.5 else 0
    things = some(rng, [first] * (count - fewer) + [second] * fewer, count)
    cells = sorted(some(rng, range(side * side), count))
    scene = Arrangement(in_grid(rng, things, side, side, cells), pick(rng, LIGHT))
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


def _box(rng: Generator, thing: Placed) -> Pair:
    """Ask for a box in tens of the side's hundredths."""
    tens = " ".join(str(10 * round(10 * value / SIDE)) for value in thing.box)
    return "box", word(rng, "box", thing.depiction.name), tens


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
    *(_scene,) * 6,
    *(_object, _flag, _icons) * 2,
    _garment,
)
"""Sorts of images; six of thirteen are scenes."""
