"""MMBench: lettered options; a question counts only if it is right in every order of its options.

    questions    a table (TSV): index, question, hint, A, B, C, D, answer, category, l2-category, …

The orders of one question's options are rows whose index differs by millions (241, 1000241, …).
Where the table has one row of each, as some development sets do, a question has one order.

The original evaluation lets a language model decide which option is meant where a rule cannot. Here
such answers are unparsable, and wrong; a model that answers with a letter is not affected.

Source: Liu et al., arXiv:2307.06281; the rule of open-compass/VLMEvalKit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from robustmerge.errors import MergeError, shown

from ...metrics.letter import letter
from ..data.questions import Question
from ..data.tables import options
from ..score import Protocol, Score
from .fixed import find_classes, plain_class
from .inputs import ScoringInput
from .matching import match_answers
from .sample_scores import SampleScore, percent, right_or_wrong, score_from_rows

_ORDERS = 1_000_000  # between the indexes of two orders of one question
_PUNCTUATION = re.compile(r"[.()\[\],:;!*#{}]")
_LEVELS = ("l2-category", "category")


def official(inputs: ScoringInput) -> Score:
    """Take the one letter that is a word of the answer, else the one option that it contains."""
    return _score(inputs, "official", official_option)


def official_option(text: str, choices: Mapping[str, str]) -> str:
    """Return the option by the rule that precedes the language model; '' if none or several.

    >>> official_option("I think (B).", {"A": "cat", "B": "dog"})
    'B'
    """
    words = _PUNCTUATION.sub(" ", text).split()
    letters = [name for name in choices if name in words]
    if len(letters) == 1:
        # A may be the article, and a letter far from the end part of an explanation.
        word = letters[0]
        if not ("A" in words and len(words) > 3) and words.index(word) > len(words) - 5:
            return word
        return ""
    lowered = text.lower()
    if len(lowered) > 2 * sum(map(len, choices.values())):
        return ""
    named = [name for name, option in choices.items() if option.lower() in lowered]
    return named[0] if len(named) == 1 else ""


def fixed(inputs: ScoringInput) -> Score:
    """Take the option's letter in any form, or the one option that is named."""
    return _score(inputs, "fixed", fixed_option)


def fixed_option(text: str, choices: Mapping[str, str]) -> str:
    """Return the option of an answer; '' where it names none or several.

    >>> fixed_option("It is a dog.", {"A": "cat", "B": "dog"})
    'B'
    """
    answer = letter(text)
    if answer in choices:
        return answer or ""
    texts = {name: plain_class(written) for name, written in choices.items()}
    classes = find_classes(text, set(texts.values()) - {""})
    named = [name for name, written in texts.items() if written in classes]
    return named[0] if len(named) == 1 else ""


def _score(
    inputs: ScoringInput, protocol: Protocol, find: Callable[[str, Mapping[str, str]], str]
) -> Score:
    orders: dict[int, list[SampleScore]] = {}
    guessed: dict[int, float] = {}
    kinds: dict[str, set[int]] = {}
    for question, text in match_answers(inputs):
        choices = options(question.content)
        answer, name = find(text, choices), int(question.id) % _ORDERS
        right = answer == _right(question, choices)
        sample = right_or_wrong(question.id, text, right, bool(answer))
        orders.setdefault(name, []).append(sample)
        guessed[name] = guessed.get(name, 1) / len(choices)
        for level in _LEVELS:
            if kind := question.content.get(level):
                kinds.setdefault(str(kind), set()).add(name)
    scores = {name: min(sample.score for sample in samples) for name, samples in orders.items()}
    samples = [sample for of in orders.values() for sample in of]
    parts = {
        "orders of a question": len(samples) / len(orders),
        "first order": sum(min(of, key=_index).score for of in orders.values()) / len(orders),
        "every answer": percent(samples),
    }
    parts |= {kind: sum(scores[n] for n in names) / len(names) for kind, names in kinds.items()}
    return score_from_rows(
        inputs,
        protocol,
        "mean",
        samples,
        np.array([[value] for value in scores.values()]),
        ids=list(scores),
        parts=parts,
        chance=100 * sum(guessed.values()) / len(guessed),
    )


def _index(sample: SampleScore) -> int:
    return int(sample.id)


def _right(question: Question, choices: Mapping[str, str]) -> str:
    """Return the letter of the right option; test sets have none, as their answers are secret."""
    answer = str(question.content.get("answer") or "").strip()
    if answer in choices:
        return answer
    raise MergeError(
        f"the answer is {shown(answer)}, which is none of the options {', '.join(choices)}",
        where=question.where,
        hint="only the development set can be scored: the test set has no answers",
    )
