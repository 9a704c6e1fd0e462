"""Pictures that are within a question's record, in base64, as MMBench's tables have them.

Where one picture belongs to several rows, some tables hold it once: the others have the index of
that row instead.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

from robustmerge.errors import MergeError, shown

from .questions import Id, Question

_LONGEST_INDEX = 12


def embedded(questions: Sequence[Question]) -> Mapping[Id, bytes]:
    """The picture of every question, by its id.

    Raises:
        MergeError: A record has none, or something else; the message names the question.
    """
    rows = {one.id: one for one in questions}
    return {one.id: _picture(one, rows) for one in questions}


def _picture(one: Question, rows: Mapping[Id, Question]) -> bytes:
    code = one.content.get("image")
    if isinstance(code, str) and code.isdigit() and len(code) <= _LONGEST_INDEX:
        other = rows.get(int(code))
        code = other.content.get("image") if other else None
    try:
        if isinstance(code, str) and code.strip():
            return base64.b64decode("".join(code.split()), validate=True)
        problem = "no picture"
    except binascii.Error as error:
        problem = f"the picture {shown(code)} is not base64: {error}"
    raise MergeError(
        problem,
        where=f"{one.where}, question {one.id}",
        hint="the column image holds a picture in base64, or the index of a row that does; the "
        "table may be cut off",
    )
