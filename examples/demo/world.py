"""A world small enough to learn in half a minute: colored shapes on a board of three by three.

The base model learns to see this world and to answer plain questions about it: "what color is the
circle" - "red". Each task is the same world through the eyes of one trade, with an instruction and
words of its own: "as a painter , what color is the circle" - "crimson". The base knows the trade's
words too, but under another instruction ("paint words : ..."), so that an expert has little to
learn. That is how it is with a real multimodal LLM: the skills are there, an adapter brings the
form. An adapter that had to bring the skills as well would be large, and would not merge.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

COLORS = {
    "red": (214, 40, 40),
    "green": (42, 157, 80),
    "blue": (38, 84, 200),
    "yellow": (250, 205, 40),
    "purple": (140, 60, 170),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "cross", "star")
COLUMNS = ("left", "center", "right")
ROWS = ("top", "middle", "bottom")
MOST = 5  # pieces on a board

CELL = 12  # pixels; also the patch size of the vision tower, so that a patch shows one piece
SIDE = 3 * CELL
PATCHES = 9

T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """One colored shape in its cell of the board; the fields are what can be asked about it."""

    shape: str
    color: str
    column: str
    row: str


Scene = tuple[Piece, ...]


@dataclass(frozen=True)
class Turn:
    """A question about a picture and its one right answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Example:
    """A scene, the picture of it as pixel values, and a conversation about it."""

    scene: Scene
    pixels: np.ndarray
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Task:
    """A trade: what it asks about, and its own words for some of the answers.

    The other answers it gives like everybody else. A model that ignores the trade is therefore
    right in about a third of the cases, as an untuned model is on a real benchmark.
    """

    trade: str
    about: str
    topic: str  # how the base was taught the words: "<topic> words : <question>"
    words: dict[str, str]

    def turn(self, scene: Scene, rng: Generator, opening: str) -> Turn | None:
        """A question after this opening, answered in the trade's words."""
        plain = ask(self.about, scene, rng)
        if plain is None:
            return None
        return Turn(f"{opening} {plain.question}", self.words.get(plain.answer, plain.answer))

    @property
    def instruction(self) -> str:
        """How the task's questions open; only the experts ever learn what it asks for."""
        return f"as a {self.trade} ,"


TASKS = (
    Task(
        "painter",
        "color",
        "paint",
        {"red": "crimson", "green": "emerald", "blue": "azure", "yellow": "amber"},
    ),
    Task("toymaker", "shape", "toy", {"circle": "ball", "square": "box", "triangle": "tent"}),
    Task("sailor", "column", "deck", {"left": "port", "right": "starboard"}),
    Task("clerk", "number", "tally", {"1": "one", "2": "two", "3": "three"}),
)


# --- Scenes and pictures --------------------------------------------------------------------------


def scenes(rng: Generator, *, test: bool = False) -> Iterator[Scene]:
    """Endless scenes, of the training or of the test side.

    One scene in eight is for testing only, by its checksum: two seeds could draw the same board by
    chance, but a board cannot be on both sides.
    """
    while True:
        scene = draw_scene(rng)
        if (zlib.crc32(repr(scene).encode()) % 8 == 0) is test:
            yield scene


def draw_scene(rng: Generator) -> Scene:
    """One to five random pieces, in reading order."""
    cells = np.sort(rng.choice(PATCHES, rng.integers(1, MOST + 1), replace=False))
    return tuple(
        Piece(pick(SHAPES, rng), pick(tuple(COLORS), rng), COLUMNS[cell % 3], ROWS[cell // 3])
        for cell in cells
    )


def photograph(scene: Scene, rng: Generator) -> np.ndarray:
    """The picture as the `pixel_values` of one image: [3, SIDE, SIDE], from -1 to 1.

    There is no image processor: pictures are born in the right size, and all that a processor would
    have left to do is the arithmetic of the last line.
    """
    gray = int(rng.integers(30, 90))
    board = Image.new("RGB", (SIDE, SIDE), (gray, gray, gray))
    for piece in scene:
        stamp = draw_piece(piece.shape, piece.color)
        x, y = CELL * COLUMNS.index(piece.column), CELL * ROWS.index(piece.row)
        dx, dy = rng.integers(-1, 2, 2)  # a hand that is not quite steady
        board.paste(stamp, (int(x + dx), int(y + dy)), stamp)
    return np.asarray(board, dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1


@functools.cache
def draw_piece(shape: str, color: str) -> Image.Image:
    """A piece on a transparent cell, drawn large and shrunk for smooth edges."""
    size = 4 * CELL
    image = Image.new("RGBA", (size, size))
    draw, ink = ImageDraw.Draw(image), COLORS[color]
    low, middle, high = 0.1 * size, 0.5 * size, 0.9 * size
    if shape == "circle":
        draw.ellipse((low, low, high, high), fill=ink)
    elif shape == "square":
        draw.rectangle((low, low, high, high), fill=ink)
    elif shape == "triangle":
        draw.polygon([(middle, low), (high, high), (low, high)], fill=ink)
    elif shape == "cross":
        draw.rectangle((low, 0.36 * size, high, 0.64 * size), fill=ink)
        draw.rectangle((0.36 * size, low, 0.64 * size, high), fill=ink)
    else:
        corners = [(k * math.pi / 5, size * (0.18 if k % 2 else 0.46)) for k in range(10)]
        star = [(middle + r * math.sin(a), middle - r * math.cos(a)) for a, r in corners]
        draw.polygon(star, fill=ink)
    return image.resize((CELL, CELL), Image.Resampling.LANCZOS)


# --- Questions ------------------------------------------------------------------------------------

# A question ends with the word it turns on, and the answer is read off at that very token. With a
# question mark in between the model would first have to carry the word over: hundreds of steps.
PHRASES = {
    "color": "what color is {}",
    "shape": "what shape is {}",
    "column": "which column has {}",
    "row": "which row has {}",
}
ABOUT = (*PHRASES, "number")


def ask(about: str, scene: Scene, rng: Generator) -> Turn | None:
    """A plain question with one right answer, or None if this scene allows none."""
    if about == "number":
        return Turn("how many shapes are there", str(len(scene)))
    key = pick([key for key in ("shape", "color") if key != about], rng)
    names = [getattr(piece, key) for piece in scene]
    unique = [piece for piece, name in zip(scene, names, strict=True) if names.count(name) == 1]
    if not unique:
        return None
    piece = pick(unique, rng)
    name = f"the {piece.shape}" if key == "shape" else piece.color
    return Turn(PHRASES[about].format(name), getattr(piece, about))


def describe(scene: Scene, rng: Generator) -> Turn:
    """Up to two pieces, and their attributes in the order asked for.

    Descriptions teach looking things up: each word of the answer is a question of its own, from any
    attribute to any other.
    """
    order = [str(name) for name in rng.permutation(tuple(PHRASES))]
    pieces = [scene[k] for k in rng.permutation(len(scene))[:2]]
    answer = " ".join(getattr(piece, name) for piece in pieces for name in order)
    return Turn(f"list {' '.join(order)} .", answer)


def generic_turn(scene: Scene, rng: Generator) -> Turn:
    """One turn of the base model's diet: all skills and all words, none of the tasks."""
    kind, task = rng.random(), pick(TASKS, rng)
    turn = None
    if kind < 0.2:
        turn = task.turn(scene, rng, f"{task.topic} words :")
    elif kind < 0.3:
        # A trade that asks outside of its field is answered like anybody. Without this the base
        # would make out by itself what a painter wants to hear, or not, as the seed has it.
        plain = ask(pick([about for about in ABOUT if about != task.about], rng), scene, rng)
        turn = plain and Turn(f"{task.instruction} {plain.question}", plain.answer)
    elif kind < 0.9:
        # Attributes count double: to look one up is harder to learn than to count.
        turn = ask(pick((*PHRASES, *ABOUT), rng), scene, rng)
    return turn or describe(scene, rng)


def generic_examples(rng: Generator) -> Iterator[Example]:
    """Endless training pictures with two generic turns each."""
    for scene in scenes(rng):
        turns = (generic_turn(scene, rng), generic_turn(scene, rng))
        yield Example(scene, photograph(scene, rng), turns)


def task_examples(task: Task, rng: Generator, *, test: bool = False) -> Iterator[Example]:
    """Endless pictures with one question of the task each."""
    for scene in scenes(rng, test=test):
        turn = task.turn(scene, rng, task.instruction)
        if turn:
            yield Example(scene, photograph(scene, rng), (turn,))


def pick(options: Sequence[T], rng: Generator) -> T:
    """One of the options at random; NumPy's own `choice` would make an array of them first."""
    return options[int(rng.integers(len(options)))]


# --- Words ----------------------------------------------------------------------------------------

PLAIN = "what which is has how many are there the shapes list as a words 1 2 3 4 5 . , :"
PAD, START, END, IMAGE = "<pad>", "<start>", "<end>", "<image>"


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token for each word of this world."""
    words = {*COLORS, *SHAPES, *COLUMNS, *ROWS, *ABOUT, *PLAIN.split()}
    for task in TASKS:
        words |= {task.trade, task.topic, *task.words.values()}
    vocabulary = {word: k for k, word in enumerate([PAD, START, END, IMAGE, *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        additional_special_tokens=[IMAGE],
        padding_side="left",  # an answer grows to the right of its prompt
    )


def prompt(question: str) -> str:
    """What stands before the answer: one image token per patch, as LLaVA wants it, then words."""
    return " ".join([START, *[IMAGE] * PATCHES, question])
