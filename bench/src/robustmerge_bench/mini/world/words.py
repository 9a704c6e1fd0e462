"""The vocabulary of the world."""

from __future__ import annotations

from .facts import (
    COLORS,
    COLUMNS,
    EXACT,
    FANCY,
    GENRE,
    GROUNDS,
    KINDS,
    LEVELS,
    MATERIALS,
    NAMES,
    NUMBERS,
    ROWS,
)
from .sprites import CHARACTERS

PAD, START, END, UNKNOWN, IMAGE = "<pad>", "<s>", "</s>", "<unk>", "<image>"
USER, ASSISTANT = "USER:", "ASSISTANT:"
PLAIN = """
    , . ? and answer are as at author book bounding box brief by choice choices choose class
    close color cover dark describe description directly does exact fancy first from gauge
    genre give given ground happens has how icons image in is it its kind know large largest
    last like line look make many more name near no number object of on option or phone
    photo phrase picture plus poor quality question read roughly say scene screen see
    sentence show single small some somebody stands table taken the there thing things this
    tight title to too use using view what where which with word words write written year
    yes you
"""


def vocabulary() -> list[str]:
    """Return all tokens, in the order of their ids."""
    special = (PAD, START, END, UNKNOWN, IMAGE, USER, ASSISTANT)
    facts = (*NAMES, *EXACT.values(), *FANCY.values(), *GENRE.values(), *GROUNDS, *KINDS)
    more = (*MATERIALS, *NUMBERS, *LEVELS, *COLORS, *ROWS, *COLUMNS)
    return list(dict.fromkeys((*special, *CHARACTERS, *facts, *more, *PLAIN.split())))
