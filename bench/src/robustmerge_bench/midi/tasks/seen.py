"""The eight tasks that experts are trained on."""

from __future__ import annotations

from numpy.random import Generator

from ..images.arrange import QUADRANTS, Arrangement, in_grid
from ..images.compose import COLORS, LIGHT, SIDE, Box, with_article
from ..images.garments import PARTS
from ..images.pieces import Depiction
from ..images.splits import Split
from ._task import ImageQuestion
from .pool import Pool, options, pick, some

UNREADABLE = "quality is too poor to see the object"
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHORT = "Answer with a single word or phrase."
GROUNDS = tuple(COLORS)


def alone(rng: Generator, thing: Depiction, look: str = "plain") -> Arrangement:
    """Show one large thing."""
    return Arrangement(in_grid(rng, [thing], 1, 1, [0]), pick(rng, GROUNDS), look)


def quadrants(rng: Generator, pool: Pool, count: int) -> tuple[Arrangement, list[str]]:
    """Show different drawings in quadrants; return the names of their quadrants, too."""
    cells = sorted(some(rng, range(4), count))
    things = in_grid(rng, some(rng, pool.drawings, count), 2, 2, cells)
    return Arrangement(things, pick(rng, GROUNDS)), [QUADRANTS[cell] for cell in cells]


def box_text(box: Box) -> str:
    """Return a box in hundredths of the image's side."""
    return f"[{', '.join(str(round(100 * value / SIDE)) for value in box)}]"


def flags(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    """Ask whose a flag is, alone or on the left or right of two: the letter of one of three."""
    del split
    names = [flag.name for flag in pool.flags]
    if rng.random() < 0.5:
        scene = alone(rng, pick(rng, pool.flags))
        country, position = scene.names[0], "in the image"
    else:
        both = in_grid(rng, some(rng, pool.flags, 2), 2, 1, [0, 1])
        scene = Arrangement(both, pick(rng, GROUNDS))
        side = int(rng.integers(2))
        country, position = scene.names[side], f"on the {('left', 'right')[side]}"
    text, letter = options(rng, country, names)
    question = f"Which country's flag is {position}? {text} Answer with the letter."
    return ImageQuestion("flag", scene, question, letter)


def photo(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    """Ask for a few words on one thing in a bad picture."""
    del split
    look = pick(rng, ("blurred", "dark", "noisy", "turned"))
    if rng.random() < 0.1:
        look = "unreadable"
    scene = alone(rng, pick(rng, pool.drawings), look)
    name = with_article(scene.names[0])
    answer = UNREADABLE if look == "unreadable" else f"a picture of {name}"
    return ImageQuestion(look, scene, "Describe this photo of a blind person in brief.", answer)


def garments(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    """Ask for the class of a garment in a photograph, or for the part of the body it is for."""
    shown = pool.photo(rng, split)
    scene = alone(rng, shown)
    sort, question, answer = pick(
        rng,
        (
            ("class", "What is the garment in the image? Name its class.", shown.name),
            ("part", f"Which part of the body is the garment for? {SHORT}", PARTS[shown.name]),
        ),
    )
    return ImageQuestion(sort, scene, question, answer, own_split=True)


def scenes(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    """Ask questions of all sorts about two to four drawings."""
    del split
    scene, cells = quadrants(rng, pool, int(rng.integers(2, 5)))
    which = int(rng.integers(len(cells)))
    sort = pick(rng, ("exists", "color", "where", "what", "count"))
    if sort == "exists":
        names = [drawing.name for drawing in pool.drawings]
        target = pick(rng, scene.names) if rng.random() < 0.5 else pick(rng, names)
        answer = "yes" if target in scene.names else "no"
        question = f"Is there {with_article(target)}?"
    else:
        question, answer = {
            "color": ("What color is the background?", scene.ground),
            "where": (f"Where is the {scene.names[which]}?", cells[which]),
            "what": (f"What is at the {cells[which]}?", scene.names[which]),
            "count": ("How many things are there?", str(len(cells))),
        }[sort]
    return ImageQuestion(sort, scene, f"{question} {SHORT}", answer)


def icons(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    """Ask how many icons there are, or of one kind, in words, or which is there only once."""
    del split
    first, second = (pool.icons[name] for name in some(rng, sorted(pool.icons), 2))
    count = int(rng.integers(2, 5))
    fewer = 1 if rng.random() < 0.4 else int(rng.integers(1, count))
    things = some(rng, [first] * (count - fewer) + [second] * fewer, count)
    cells = sorted(some(rng, range(4), count))
    scene = Arrangement(in_grid(rng, things, 2, 2, cells), pick(rng, LIGHT))
    target, of_kind = (first, count - fewer) if rng.random() < 0.5 else (second, fewer)
    kind = f"How many times is the {target.name} there? Answer in words."
    questions = [
        ("all", "How many are there? Answer in words.", NUMBERS[count]),
        ("kind", kind, NUMBERS[of_kind]),
    ]
    if fewer == 1 and count > 2:
        questions.append(("odd", "Which icon is there only once?", second.name))
    sort, question, answer = pick(rng, questions)
    return ImageQuestion(sort, scene, f"Look at the icons. {question}", answer)


def captions(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    """Ask for a sentence on two drawings."""
    del split
    cells = [0, 1]
    things = in_grid(rng, some(rng, pool.drawings, 2), 2, 1, cells)
    scene = Arrangement(things, pick(rng, GROUNDS))
    left, right = map(with_article, scene.names)
    answer, other = (
        f"{first[0].upper()}{first[1:]} next to {second} on a {scene.ground} background."
        for first, second in ((left, right), (right, left))
    )
    question = "Write a caption for the image in one sentence."
    return ImageQuestion("pair", scene, question, answer, (answer, other))


def boxes(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    """Ask for the box of a drawing, in hundredths of the side."""
    del split
    scene, cells = quadrants(rng, pool, int(rng.integers(1, 4)))
    thing = scene.things[int(rng.integers(len(cells)))]
    question = f"Give the bounding box of the {thing.depiction.name}."
    return ImageQuestion("box", scene, question, box_text(thing.box))


def clip_art(rng: Generator, pool: Pool, split: Split) -> ImageQuestion:
    """Ask what kind of thing a piece of clip art shows."""
    shown = pick(rng, pool.clip_art.drawings[split])
    question = (
        "What kind of thing does the drawing show? "
        "Answer with a general word, such as bird, insect or vehicle."
    )
    scene = Arrangement(in_grid(rng, [shown], 1, 1, [0]), pick(rng, LIGHT))
    return ImageQuestion(shown.name, scene, question, shown.name, own_split=True)
