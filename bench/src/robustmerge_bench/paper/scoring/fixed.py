"""The corrected rules for words, classes and boxes.

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
from ..score import Protocol, Score
from .boxes import detect_unit, find_box, right_box, to_square
from .chance import chance_among_classes, chance_among_options
from .inputs import ScoringInput, right_answer
from .matching import match_answers
from .sample_scores import SampleScore, mean_score, right_or_wrong

_NUMBER = re.compile(r"[-+]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?")
_FEWEST_ANNOTATORS = 4  # VQA has ten; its accuracy leaves one out and wants three that agree


def words(inputs: ScoringInput) -> Score:
    """Require the same words, ignoring case, spacing and a period; numbers count by value."""
    samples = [
        right_or_wrong(q.id, text, same(text, right_answer(q))) for q, text in match_answers(inputs)
    ]
    return mean_score(inputs, "fixed", samples)


def letter(inputs: ScoringInput) -> Score:
    """Require the right option's letter in any form; the same words if the option has no letter."""
    samples = []
    for question, text in match_answers(inputs):
        right, answer = right_answer(question).strip(), letter_in(text)
        if re.fullmatch("[A-Za-z]", right):
            sample = right_or_wrong(question.id, text, answer == right.upper(), bool(answer))
        else:
            sample = right_or_wrong(question.id, text, same(text, right))
        samples.append(sample)
    return mean_score(inputs, "fixed", samples, chance=chance_among_options(inputs.questions))


def vqa(inputs: ScoringInput) -> Score:
    """Use VQA accuracy if the questions have annotators' answers, else equal normalized words."""
    samples = []
    for question, text in match_answers(inputs):
        annotators = human_answers(question)
        if annotators:
            samples.append(SampleScore(question.id, vqa_accuracy(text, annotators), text))
            continue
        answer, right = map(normalized_as_in_vqa, (text, right_answer(question)))
        # Nothing is left of an answer such as A, an article.
        hit = answer == right if answer else same(text, right_answer(question))
        samples.append(right_or_wrong(question.id, text, hit))
    return mean_score(inputs, "fixed", samples)


def classes(inputs: ScoringInput) -> Score:
    """Require the right class, as whole words, and no other that is not part of its name."""
    known = {_class_of(question) for question in inputs.questions}
    samples = []
    for question, text in match_answers(inputs):
        named = find_classes(text, known)
        right = named == {_class_of(question)}
        samples.append(right_or_wrong(question.id, text, right, bool(named)))
    return mean_score(inputs, "fixed", samples, chance=chance_among_classes(inputs.questions))


def label(inputs: ScoringInput, protocol: Protocol) -> Score:
    """Require the name of an image's class, ignoring case, spacing and a period at the end.

    An answer that names no class of the questions is unparsable.
    """
    known = {normalized(right_answer(question)) for question in inputs.questions}
    samples = []
    for question, text in match_answers(inputs):
        answer = normalized(text)
        right = answer == normalized(right_answer(question)) != ""
        samples.append(right_or_wrong(question.id, text, right, answer in known))
    return mean_score(inputs, protocol, samples, chance=chance_among_classes(inputs.questions))


def box(inputs: ScoringInput) -> Score:
    """Require an overlap with the right box of more than half, in any unit: see `boxes.py`."""
    answers = [(question, text, find_box(text)) for question, text in match_answers(inputs)]
    unit = detect_unit([(answer, question) for question, _, answer in answers if answer])
    parts = {} if unit == "square" else {f"in {unit}": 100.0}
    samples = []
    for question, text, answer in answers:
        x1, y1, x2, y2 = right_box(question)
        hit = answer is not None and iou(to_square(answer, unit, question), (x1, y1, x2, y2)) > 0.5
        samples.append(right_or_wrong(question.id, text, hit, answer is not None))
    return mean_score(inputs, "fixed", samples, parts=parts)


def same(text: str, answer: str) -> bool:
    """Return whether an answer is the right one, and not empty."""
    return plain(text) == plain(answer) != ""


def plain(text: str) -> str:
    """Return a text in lower case, without one period at its end; a number by its value.

    >>> [plain(x) for x in ("1,000", "1000.0", "$1,000.", "A Cat.", "1,00")]
    ['#1000', '#1000', '#1000', 'a cat', '1,00']
    """
    text = normalized(text)
    if any(c.isdigit() for c in text) and text.isascii() and _NUMBER.fullmatch(text):
        return f"#{Fraction(text.replace(',', '').replace('$', ''))}"
    return text


def plain_class(text: str) -> str:
    """Return a class name as words between single spaces, without the number of a homonym.

    >>> plain_class("Jack-o'-lantern"), plain_class("crane2")
    ('jack o lantern', 'crane')
    """
    parts = re.findall(r"[^\W_]+", text.lower())
    return " ".join(re.sub(r"(?<=[^\W\d_])\d+$", "", part) for part in parts)


def find_classes(text: str, known: Iterable[str]) -> set[str]:
    """Return the classes that a text names, without those that are part of another's name.

    >>> find_classes("a bow tie, I think", {"tie", "bow tie", "hip"})
    {'bow tie'}
    """
    padded = f" {plain_class(text)} "
    candidates = sorted((name for name in known if f" {name} " in padded), key=len, reverse=True)
    named = set()
    for name in candidates:
        if f" {name} " in padded:
            named.add(name)
            padded = padded.replace(f" {name} ", " | ")
    return named


def _class_of(question: Question) -> str:
    name = plain_class(right_answer(question))
    if name:
        return name
    raise MergeError(
        f"the answer is {shown(right_answer(question))}, which names no class",
        where=question.where,
        hint="give the name of what is shown",
    )


def human_answers(question: Question) -> tuple[str, ...]:
    """Return the annotators' answers; none if the question has too few for VQA accuracy."""
    written = question.content.get("answers")
    if written is None:
        return ()
    listed = written if isinstance(written, list) else [None]
    texts = [a.get("answer") if isinstance(a, Mapping) else a for a in listed]
    answers = tuple(text for text in texts if isinstance(text, str))
    if len(answers) < len(texts):
        raise wrong_field(question.record, "answers", "a list of texts")
    return answers if len(answers) >= _FEWEST_ANNOTATORS else ()
