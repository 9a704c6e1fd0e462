"""Boxes: an answer points at the right region if both overlap by more than half.

A box is x1, y1, x2, y2: left, top, right, bottom, in any one unit. The overlap is the area of the
intersection over that of the union (IoU), as for RefCOCO: Yu et al., arXiv:1608.00272.
"""

from __future__ import annotations

import re

from robustmerge.errors import MergeError

Box = tuple[float, float, float, float]

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_FOUR = r"\s*" + r"(?:\s*,\s*|\s+)".join([f"({_NUMBER})"] * 4) + r"\s*"
_BOX = re.compile(rf"(?:\[{_FOUR}\]|\({_FOUR}\)|{_FOUR})\.?", re.ASCII)


def box_match(answer: str, references: tuple[str, ...], *, threshold: float = 0.5) -> float:
    """Return 100 if an answer is a box that overlaps a reference by more than that, else 0."""
    boxes = [parse(reference) for reference in references]
    if None in boxes:
        raise MergeError(
            f"the reference {references[boxes.index(None)]!r} is not a box",
            where="the answers of the task",
            hint="a box is [x1, y1, x2, y2] with x1 < x2 and y1 < y2",
        )
    answered = parse(answer)
    hit = answered is not None and any(iou(answered, right) > threshold for right in boxes if right)
    return 100.0 if hit else 0.0


def parse(answer: str) -> Box | None:
    """Return the box in an answer, None where it is anything else or the box is empty.

    Four numbers between commas or spaces, in brackets, parentheses or neither, and at most a period
    after them. A box among other words is refused, as is one whose corners are in the wrong order.

    >>> parse("[0.1, 0.2, 0.5, 1]")
    (0.1, 0.2, 0.5, 1.0)
    """
    match = _BOX.fullmatch(answer.strip())
    if not match:
        return None
    x1, y1, x2, y2 = (float(x) for x in match.groups() if x is not None)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def iou(a: Box, b: Box) -> float:
    """Return the area that two boxes share, over the area that they cover together, 0 to 1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(a) + _area(b) - shared)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
