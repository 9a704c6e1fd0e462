"""Boxes as questions and models write them, brought to one unit.

The references' unit is the padded image: the image is padded to a square, in the middle, and
lengths are fractions of its side. A model may answer in another unit: thousandths of the image's
width and height, or its pixels. All answers of a file are in one unit, which is inferred from them:

    square        unless nine in ten boxes have a number above 1.5
    thousandths   then, if one in a hundred goes beyond its image, and none beyond 1,000
    pixels        then, if none in a hundred goes beyond its image, and one in a hundred cannot be
                  thousandths, since a number is above 1,000

Where both are possible, as with small images, the unit is unknown, and the answers are read in the
requested one, fractions of the square: most are wrong then. Fractions of an image without padding
cannot be distinguished from fractions of its square, and count as these.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from robustmerge.errors import MergeError, shown

from ...metrics.boxes import Box, parse
from ..data.questions import Question, wrong_field

Unit = Literal["square", "thousandths", "pixels"]
Size = tuple[float, float]

_GROUP = re.compile(r"\[[^\[\]()]*\]|\([^\[\]()]*\)")
_FRACTIONS = 1.5  # fractions of a square are at most 1; a model may overshoot
_SLACK = 1.02  # of an image's size, for rounding


def right_box(question: Question) -> list[float]:
    """Return the right box: left, top, right, bottom as fractions of the image's square."""
    written = question.content.get("answer_bbox")
    parts = written.split(",") if isinstance(written, str) else written
    try:
        box = [float(str(part).strip(" []")) for part in parts or ()]
    except (ValueError, TypeError):
        box = []
    if len(box) == 4 and box[0] < box[2] and box[1] < box[3]:
        return box
    raise MergeError(
        f"answer_bbox is {shown(written)}, which is not a box",
        where=question.where,
        hint="a box is [x1, y1, x2, y2] with x1 < x2 and y1 < y2",
    )


def image_size(question: Question) -> Size:
    """Return width and height of the image, in pixels."""
    written = question.content.get("size")
    match written:
        case [int() | float() as width, int() | float() as height] if width > 0 and height > 0:
            return float(width), float(height)
        case _:
            raise wrong_field(question.record, "size", "width and height in pixels")


def find_box(text: str) -> Box | None:
    """Return the box of an answer, also among other words; None where it has none or several.

    >>> find_box("It is at [0.1, 0.2, 0.5, 1].")
    (0.1, 0.2, 0.5, 1.0)
    """
    if alone := parse(text):
        return alone
    boxes = [box for box in map(parse, _GROUP.findall(text)) if box]
    return boxes[0] if len(boxes) == 1 else None


def detect_unit(boxes: Sequence[tuple[Box, Question]]) -> Unit:
    """Return the unit of the answers of a file."""
    large = [(box, question) for box, question in boxes if max(box) > _FRACTIONS]
    if len(large) < 0.9 * len(boxes) or not large:
        return "square"
    sizes = [image_size(question) for _, question in large]
    beyond = sum(
        max(box[0], box[2]) > _SLACK * w or max(box[1], box[3]) > _SLACK * h
        for (box, _), (w, h) in zip(large, sizes, strict=True)
    )
    above = sum(max(box) > 1000 * _SLACK for box, _ in large)
    few = max(1, len(large) // 100)
    if beyond >= few and not above:
        return "thousandths"
    if above >= few and beyond < few:
        return "pixels"
    return "square"


def to_square(box: Box, unit: Unit, question: Question) -> Box:
    """Return a box in fractions of the image's square."""
    if unit == "square":
        return box
    w, h = image_size(question)
    side = max(w, h)
    wide, high = (w / 1000, h / 1000) if unit == "thousandths" else (1.0, 1.0)
    left, top = (side - w) / 2, (side - h) / 2
    x1, y1, x2, y2 = box
    return (
        (x1 * wide + left) / side,
        (y1 * high + top) / side,
        (x2 * wide + left) / side,
        (y2 * high + top) / side,
    )
