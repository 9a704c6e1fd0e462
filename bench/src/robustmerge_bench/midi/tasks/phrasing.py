"""The wordings of plain questions: several for each, so that a new one is understood, too.

None is a question of a task; a task's wording is one that the base has not seen.
"""

from __future__ import annotations

from collections.abc import Mapping

from numpy.random import Generator

from .pool import pick

WORDINGS: Mapping[str, tuple[str, ...]] = {
    "color": (
        "What color is the background?",
        "Which color is behind it?",
        "Name the color of the background.",
    ),
    "where": ("Where is the {0}?", "In which corner is the {0}?", "Say where the {0} is."),
    "what": ("What is at the {0}?", "Which thing is at the {0}?", "Name the object at the {0}."),
    "box": (
        "How far does the {0} reach?",
        "What is the box of the {0}?",
        "Where does the {0} begin and end? Give its bounding box.",
    ),
    "exists": ("Is there {0}?", "Can you see {0}?", "Does the picture show {0}?"),
    "count": ("How many {0} are there?", "Count the {0}.", "How many {0} can you see?"),
    "list": ("What is in the picture?", "Which things are there?", "Name the things."),
    "caption": (
        "Describe the picture.",
        "Describe the image in a sentence.",
        "Write a caption.",
        "What does the photo show? Describe it.",
    ),
    "name": ("What is this?", "Name the object.", "Which object does the picture show?"),
    "flag": ("Whose flag is this?", "Which country has this flag?", "Name the country."),
    "icons": ("Which icons are there?", "Name the icons and how many there are."),
}
"""By the kind of question; {0} is what is asked about."""

ADDITIONS = ("Look at the picture.", "Look at it closely.", "This is an image.")
"""Sentences before a question that change nothing."""


def word(rng: Generator, kind: str, about: str = "") -> str:
    """Return a question of a kind in one of its wordings."""
    question = pick(rng, WORDINGS[kind]).format(about)
    if rng.random() < 0.2:
        return f"{pick(rng, ADDITIONS)} {question}"
    return question
