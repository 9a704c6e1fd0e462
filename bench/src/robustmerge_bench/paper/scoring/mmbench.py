"""MMBench: lettered options; a question counts only if it is right in every order of its options.

    questions    a table (TSV): index, question, hint, A, B, C, D, answer, category, l2-category, …

The orders of one question's options are rows whose index differs by millions (241, 1000241, …).
Where the table has one row of each, as development sets may, a question is asked once.

The original evaluation lets a language model say which option is meant where a rule cannot. There
is none here: such answers are unparsable, and wrong. A model that answers with a letter loses
nothing by that.

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
from .sample_scores import SampleScore, full_or_none, percent, score_from_rows

_ORDERS = 1_000_000
_MARKS = re.compile(r"[.()\[\],:;!*#{}]")
_LEVELS = ("l2-category", "category")


def official(inputs: ScoringInput) -> Score:
    """The one letter that is a word of the answer, else the one option whose text occurs in it."""
    return _scored(inputs, "official", official_option)


def official_option(text: str, choices: Mapping[str, str]) -> str:
    """The option that the rule before the judge finds; '' where it finds none or several.

    >>> official_option("I think (B).", {"A": "cat", "B": "dog"})
    'B'
    """
    words = _MARKS.sub(" ", text).split()
    letters = [name for name in choices if name in words]
    if len(letters) == 1:
        # A may be the article, and a letter far from the end be about another thing.
        word = letters[0]
        if not ("A" in words and len(words) > 3) and words.index(word) > len(words) - 5:
            return word
        return ""
    said = text.lower()
    if len(said) > 2 * sum(map(len, choices.values())):
        return ""
    named = [name for name, option in choices.items() if option.lower() in said]
    return named[0] if len(named) == 1 else ""


def fixed(inputs: ScoringInput) -> Score:
    """The option's letter, however it is written, or the one option that is named."""
    return _scored(inputs, "fixed", option)


def option(text: str, choices: Mapping[str, str]) -> str:
    """The option that an answer gives; '' where it gives none or several.

    >>> option("It is a dog.", {"A": "cat", "B": "dog"})
    'B'
    """
    found = letter(text)
    if found in choices:
        return found or ""
    texts = {name: plain_class(written) for name, written in choices.items()}
    said = find_classes(text, set(texts.values()) - {""})
    named = [name for name, written in texts.items() if written in said]
    return named[0] if len(named) == 1 else ""


def _scored(
    inputs: ScoringInput, protocol: Protocol, find: Callable[[str, Mapping[str, str]], str]
) -> Score:
    asked: dict[int, list[SampleScore]] = {}
    guessed: dict[int, float] = {}
    kinds: dict[str, set[int]] = {}
    for question, text in match_answers(inputs):
        choices = options(question.content)
        said, name = find(text, choices), int(question.id) % _ORDERS
        sample = SampleScore(
            question.id, full_or_none(said == _right(question, choices)), text, bool(said)
        )
        asked.setdefault(name, []).append(sample)
        guessed[name] = guessed.get(name, 1) / len(choices)
        for level in _LEVELS:
            if kind := question.content.get(level):
                kinds.setdefault(str(kind), set()).add(name)
    scores = {name: min(sample.score for sample in samples) for name, samples in asked.items()}
    samples = [sample for of in asked.values() for sample in of]
    parts = {
        "orders of a question": len(samples) / len(asked),
        "first order": sum(min(of, key=_index).score for of in asked.values()) / len(asked),
        "every answer": percent(samples),
    }
    parts |= {kind: sum(scores[n] for n in names) / len(names) for kind, names in kinds.items()}
    return score_from_rows(
        inputs,
        protocol,
        "mean",
        samples,
        np.array([[one] for one in scores.values()]),
        ids=list(scores),
        parts=parts,
        chance=100 * sum(guessed.values()) / len(guessed),
    )


def _index(sample: SampleScore) -> int:
    return int(sample.id)


def _right(question: Question, choices: Mapping[str, str]) -> str:
    """The letter of the right option.

    Raises:
        MergeError: It is none of the options, as in test sets, whose answers are secret.
    """
    answer = str(question.content.get("answer") or "").strip()
    if answer in choices:
        return answer
    raise MergeError(
        f"the answer is {shown(answer)}, which is none of the options {', '.join(choices)}",
        where=question.where,
        hint="only the development set can be scored: the test set has no answers",
    )
