"""Images within a question's record, in base64, as in MMBench's tables.

Where one image belongs to several rows, some tables hold it once: the others have the index of
that row instead.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

from robustmerge.errors import MergeError, shown

from .questions import Id, Question

_LONGEST_INDEX = 12  # digits; base64 of an image is longer


def decode_images(questions: Sequence[Question]) -> Mapping[Id, bytes]:
    """Return the image of every question, by its id."""
    rows = {question.id: question for question in questions}
    return {question.id: _decode(question, rows) for question in questions}


def _decode(question: Question, rows: Mapping[Id, Question]) -> bytes:
    code = question.content.get("image")
    if isinstance(code, str) and code.isdigit() and len(code) <= _LONGEST_INDEX:
        other = rows.get(int(code))
        code = other.content.get("image") if other else None
    try:
        if isinstance(code, str) and code.strip():
            return base64.b64decode("".join(code.split()), validate=True)
        problem = "no image"
    except binascii.Error as error:
        problem = f"the image {shown(code)} is not base64: {error}"
    raise MergeError(
        problem,
        where=f"{question.where}, question {question.id}",
        hint="the column image holds an image in base64, or the index of a row that does; the "
        "table may be cut off",
    )
