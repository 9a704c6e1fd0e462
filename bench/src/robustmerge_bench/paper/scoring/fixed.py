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
from .boxes import on_square, only_box, reference, unit_of
from .chance import among_classes, among_options
from .exam import ScoringInput, answer_of
from .marks import SampleScore, scored, worth
from .matching import answered

_NUMBER = re.compile(r"[-+]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?")


def words(exam: ScoringInput) -> Score:
    """The same words, whatever the case, the spacing and a period; equal numbers are the same."""
    marks = [SampleScore(q.id, worth(same(text, answer_of(q))), text) for q, text in answered(exam)]
    return scored(exam, "fixed", marks)


def letter(exam: ScoringInput) -> Score:
    """The right option's letter, however it is written; the same words where it has no letter."""
    marks = []
    for question, text in answered(exam):
        right, said = answer_of(question).strip(), letter_in(text)
        if re.fullmatch("[A-Za-z]", right):
            marks.append(SampleScore(question.id, worth(said == right.upper()), text, bool(said)))
        else:
            marks.append(SampleScore(question.id, worth(same(text, right)), text))
    return scored(exam, "fixed", marks, chance=among_options(exam.questions))


def vqa(exam: ScoringInput) -> Score:
    """VQA accuracy where the questions have people's answers; else the same words as there."""
    marks = []
    for question, text in answered(exam):
        people = people_of(question)
        if people:
            marks.append(SampleScore(question.id, vqa_accuracy(text, people), text))
            continue
        said, right = map(normalized_as_in_vqa, (text, answer_of(question)))
        # Of an answer such as A nothing is left.
        hit = said == right if said else same(text, answer_of(question))
        marks.append(SampleScore(question.id, worth(hit), text))
    return scored(exam, "fixed", marks)


def classes(exam: ScoringInput) -> Score:
    """The right class is named, as whole words, and no other that is not part of its name."""
    known = {_class_of(question) for question in exam.questions}
    marks = []
    for question, text in answered(exam):
        named = classes_in(text, known)
        right = named == {_class_of(question)}
        marks.append(SampleScore(question.id, worth(right), text, bool(named)))
    return scored(exam, "fixed", marks, chance=among_classes(exam.questions))


def box(exam: ScoringInput) -> Score:
    """A box that overlaps the right one by more than half, in whatever unit: see `boxes.py`."""
    said = [(question, text, only_box(text)) for question, text in answered(exam)]
    unit = unit_of([(found, question) for question, _, found in said if found])
    parts = {} if unit == "square" else {f"in {unit}": 100.0}
    marks = []
    for question, text, found in said:
        x1, y1, x2, y2 = reference(question)
        hit = found is not None and iou(on_square(found, unit, question), (x1, y1, x2, y2)) > 0.5
        marks.append(SampleScore(question.id, worth(hit), text, found is not None))
    return scored(exam, "fixed", marks, parts=parts)


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


def classes_in(text: str, known: Iterable[str]) -> set[str]:
    """The classes that a text names; one within the name of another is not named.

    >>> classes_in("a bow tie, I think", {"tie", "bow tie", "hip"})
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
    name = plain_class(answer_of(question))
    if name:
        return name
    raise MergeError(
        f"the answer is {shown(answer_of(question))}, which names no class",
        where=question.where,
        hint="give the name of what is shown",
    )


def people_of(question: Question) -> tuple[str, ...]:
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
