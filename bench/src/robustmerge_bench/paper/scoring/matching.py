"""Which answer belongs to which question: by the released scripts, and corrected."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from robustmerge.errors import MergeError, few, shown

from ..data.predictions import Prediction
from ..data.questions import Id, Question, keys
from .inputs import ScoringInput

Pair = tuple[Question, Prediction]
Entry = TypeVar("Entry", Question, Prediction)


def match_by_id(inputs: ScoringInput, key: Callable[[Id], Hashable] = lambda id: id) -> list[Pair]:
    """Match every line of answers with the question of its id, as the scripts do.

    Of questions with one id the last is taken. A repeated answer counts each time, and a question
    without an answer does not count.

    The key is what is compared of an id. The scripts mostly compare ids as JSON has them, where 3
    is not "3".

    Raises:
        MergeError: An answer without a question; the scripts end with a KeyError.
    """
    known = {key(question.id): question for question in inputs.questions}
    pairs = []
    for prediction in inputs.predictions:
        if key(prediction.id) not in known:
            raise _unmatched_answer(inputs, prediction)
        pairs.append((known[key(prediction.id)], prediction))
    return pairs


def match_by_line(inputs: ScoringInput) -> list[Pair]:
    """Match line k of the answers with question k, ignoring ids.

    Raises:
        MergeError: More answers than questions; the scripts end with an IndexError.
    """
    questions, predictions = inputs.questions, inputs.predictions
    if len(predictions) <= len(questions):
        return list(zip(questions, predictions, strict=False))
    raise MergeError(
        f"{len(predictions)} answers to {len(questions)} questions",
        where=f"{predictions[len(questions)].where}: the first that is too much",
        hint="the official script pairs them line by line; were two runs written to one file?",
    )


def match_answers(inputs: ScoringInput) -> list[tuple[Question, str]]:
    """Match every question, in the order of their file, with the one answer to it.

    Ids are compared as text. Where a task's ids repeat, the k-th answer with an id belongs to the
    k-th question with it. A question without an answer gets an empty one, if the user allows it.

    Raises:
        MergeError: An id that repeats and may not, an answer without a question, or a question
            without an answer.
    """
    questions = _by_unique_id(inputs, inputs.questions, "questions")
    answers = _by_unique_id(inputs, inputs.predictions, "answers")
    for key, prediction in answers.items():
        if key not in questions:
            raise _unmatched_answer(inputs, prediction)
    left = [question for key, question in questions.items() if key not in answers]
    if left and inputs.missing == "refuse":
        raise MergeError(
            f"{len(left)} of {len(questions)} questions have no answer: "
            f"{few([shown(question.id) for question in left])}",
            where=f"{left[0].where}: the first of them",
            hint="finish the run; or --missing wrong counts them as wrong",
        )
    return [(q, answers[key].text if key in answers else "") for key, q in questions.items()]


def _by_unique_id(
    inputs: ScoringInput, records: Sequence[Entry], what: str
) -> dict[Hashable, Entry]:
    """Return the records by id, or by id and number of earlier occurrences where ids repeat."""
    ids = [str(record.id) for record in records]
    names: Sequence[Hashable] = keys(ids) if inputs.task.repeated_ids else ids
    by_name: dict[Hashable, Entry] = {}
    for name, record in zip(names, records, strict=True):
        if name in by_name:
            raise MergeError(
                f"two {what} have the id {shown(record.id)}",
                where=f"{by_name[name].where}\n{record.where}",
                hint="every id may occur once; were two runs written to one file?",
            )
        by_name[name] = record
    return by_name


def _unmatched_answer(inputs: ScoringInput, prediction: Prediction) -> MergeError:
    """Return the error for an answer to an unknown question."""
    alike = [q.id for q in inputs.questions if str(q.id) == str(prediction.id)]
    hint = "are these the answers to these questions?"
    if prediction.id in alike:
        hint = f"it has {len(alike)}, and more answers; were two runs written to one file?"
    elif alike:
        hint = f"there is {alike[0]!r}: the official script compares ids with their type"
    return MergeError(
        f"no question belongs to this answer, of id {shown(prediction.id)}",
        where=f"{prediction.where}\n{inputs.file}: {len(inputs.questions)} questions",
        hint=hint,
    )
