"""The right rules for words, classes and boxes.

Answers belong to questions by id, every question counts, and an empty answer is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction

from robustmerge.errors import MergeError, shown

from ...metrics import vqa_accuracy
from ...metrics.boxes import iou
from ...metrics.exact import normalized
from ...metrics.letter import letter as letter_in
from ...metrics.vqa import normalized as normalized_as_in_vqa
from ..data.questions import Question, wrong_field
from ..data.records import JsonRecord
from ..score import Score
from .boxes import detect_unit, find_box, reference, to_square
from .chance import chance_among_classes, chance_among_options
from .inputs import ScoringInput, right_answer
from .matching import match_answers
from .sample_scores import SampleScore, full_or_none, mean_score

_NUMBER = re.compile(r"[-+]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?")


def words(inputs: ScoringInput) -> Score:
    """The same words, whatever the case, the spacing and a period; equal numbers are the same."""
    samples = [
        SampleScore(q.id, full_or_none(same(text, right_answer(q))), text)
        for q, text in match_answers(inputs)
    ]
    return mean_score(inputs, "fixed", samples)


def letter(inputs: ScoringInput) -> Score:
    """The right option's letter, however it is written; the same words where it has no letter."""
    samples = []
    for question, text in match_answers(inputs):
        right, said = right_answer(question).strip(), letter_in(text)
        if re.fullmatch("[A-Za-z]", right):
            samples.append(
                SampleScore(question.id, full_or_none(said == right.upper()), text, bool(said))
            )
        else:
            samples.append(SampleScore(question.id, full_or_none(same(text, right)), text))
    return mean_score(inputs, "fixed", samples, chance=chance_among_options(inputs.questions))


def vqa(inputs: ScoringInput) -> Score:
    """VQA accuracy where the questions have people's answers; else the same words as there."""
    samples = []
    for question, text in match_answers(inputs):
        people = human_answers(question)
        if people:
            samples.append(SampleScore(question.id, vqa_accuracy(text, people), text))
            continue
        said, right = map(normalized_as_in_vqa, (text, right_answer(question)))
        # Of an answer such as A nothing is left.
        hit = said == right if said else same(text, right_answer(question))
        samples.append(SampleScore(question.id, full_or_none(hit), text))
    return mean_score(inputs, "fixed", samples)


def classes(inputs: ScoringInput) -> Score:
    """The right class is named, as whole words, and no other that is not part of its name."""
    known = {_class_of(question) for question in inputs.questions}
    samples = []
    for question, text in match_answers(inputs):
        named = find_classes(text, known)
        right = named == {_class_of(question)}
        samples.append(SampleScore(question.id, full_or_none(right), text, bool(named)))
    return mean_score(inputs, "fixed", samples, chance=chance_among_classes(inputs.questions))


def box(inputs: ScoringInput) -> Score:
    """A box that overlaps the right one by more than half, in whatever unit: see `boxes.py`."""
    said = [(question, text, find_box(text)) for question, text in match_answers(inputs)]
    unit = detect_unit([(found, question) for question, _, found in said if found])
    parts = {} if unit == "square" else {f"in {unit}": 100.0}
    samples = []
    for question, text, found in said:
        x1, y1, x2, y2 = reference(question)
        hit = found is not None and iou(to_square(found, unit, question), (x1, y1, x2, y2)) > 0.5
        samples.append(SampleScore(question.id, full_or_none(hit), text, found is not None))
    return mean_score(inputs, "fixed", samples, parts=parts)


def same(text: str, answer: str) -> bool:
    """Whether an answer is the right one, and not empty."""
    return plain(text) == plain(answer) != ""


def plain(text: str) -> str:
    """A text in lower case, without one period at its end; a number by its value.

    >>> [plain(x) for x in ("1,000", "1000.0", "$1,000.", "A Cat.", "1,00")]
    ['#1000', '#1000', '#1000', 'a cat', '1,00']
    """
    text = normalized(text)
    if any(c.isdigit() for c in text) and text.isascii() and _NUMBER.fullmatch(text):
        return f"#{Fraction(text.replace(',', '').replace('$', ''))}"
    return text


def plain_class(text: str) -> str:
    """A class name as words between single spaces; the number that tells two namesakes goes.

    >>> plain_class("Jack-o'-lantern"), plain_class("crane2")
    ('jack o lantern', 'crane')
    """
    found = re.findall(r"[^\W_]+", text.lower())
    return " ".join(re.sub(r"(?<=[^\W\d_])\d+$", "", word) for word in found)


def find_classes(text: str, known: Iterable[str]) -> set[str]:
    """The classes that a text names; one within the name of another is not named.

    >>> find_classes("a bow tie, I think", {"tie", "bow tie", "hip"})
    {'bow tie'}
    """
    padded = f" {plain_class(text)} "
    found = sorted((name for name in known if f" {name} " in padded), key=len, reverse=True)
    named = set()
    for name in found:
        if f" {name} " in padded:
            named.add(name)
            padded = padded.replace(f" {name} ", " | ")
    return named


def _class_of(question: Question) -> str:
    """The right class.

    Raises:
        MergeError: It has no letter or digit in it.
    """
    name = plain_class(right_answer(question))
    if name:
        return name
    raise MergeError(
        f"the answer is {shown(right_answer(question))}, which names no class",
        where=question.where,
        hint="give the name of what is shown",
    )


def human_answers(question: Question) -> tuple[str, ...]:
    """People's answers, of which VQA has ten; none where the question has fewer than four.

    Raises:
        MergeError: They are something else than texts, or records with one.
    """
    written = question.content.get("answers")
    if written is None:
        return ()
    listed = written if isinstance(written, list) else [None]
    texts = [a.get("answer") if isinstance(a, Mapping) else a for a in listed]
    people = tuple(text for text in texts if isinstance(text, str))
    if len(people) < len(texts):
        raise wrong_field(
            JsonRecord(question.where, question.content), "answers", "a list of texts"
        )
    return people if len(people) > 3 else ()
