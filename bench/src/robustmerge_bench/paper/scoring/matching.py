"""Which answer belongs to which question: as the released scripts have it, and as it should be."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from robustmerge.errors import MergeError, few, shown

from ..data.predictions import Prediction
from ..data.questions import Id, Question, keys
from .inputs import ScoringInput

Pair = tuple[Question, Prediction]
Asked = TypeVar("Asked", Question, Prediction)


def match_by_id(
    inputs: ScoringInput, kind: Callable[[Id], Hashable] = lambda one: one
) -> list[Pair]:
    """Every line of answers with the question of its id, which the scripts look up.

    Of questions with one id the last is taken. Answers are not looked up: one given twice counts
    twice, and a question without one does not count.

    Args:
        inputs: Questions and answers.
        kind: What of the id is compared. The scripts mostly compare ids as JSON has them, where 3
            is not "3".

    Raises:
        MergeError: There is no such question; the scripts end with a KeyError.
    """
    known = {kind(question.id): question for question in inputs.questions}
    pairs = []
    for prediction in inputs.predictions:
        if kind(prediction.id) not in known:
            raise _unmatched_answer(inputs, prediction)
        pairs.append((known[kind(prediction.id)], prediction))
    return pairs


def match_by_line(inputs: ScoringInput) -> list[Pair]:
    """Every line of answers with the question in the same place, whatever their ids.

    Raises:
        MergeError: There are more answers than questions; the scripts end with an IndexError.
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
    """Every question, in the order of their file, with the one answer to it.

    Ids are compared as text. Where a task's ids repeat, the k-th answer with an id belongs to the
    k-th question with it. A question without an answer gets an empty one, if the user allows it.

    Raises:
        MergeError: An id repeats that may not, an answer belongs to no question, or a question has
            none.
    """
    asked = _by_unique_id(inputs, inputs.questions, "questions")
    said = _by_unique_id(inputs, inputs.predictions, "answers")
    for key, prediction in said.items():
        if key not in asked:
            raise _unmatched_answer(inputs, prediction)
    left = [question for key, question in asked.items() if key not in said]
    if left and inputs.missing == "refuse":
        raise MergeError(
            f"{len(left)} of {len(asked)} questions have no answer: "
            f"{few([shown(question.id) for question in left])}",
            where=f"{left[0].where}: the first of them",
            hint="finish the run; or --missing wrong counts them as wrong",
        )
    return [(q, said[key].text if key in said else "") for key, q in asked.items()]


def _by_unique_id(
    inputs: ScoringInput, records: Sequence[Asked], what: str
) -> dict[Hashable, Asked]:
    """The records by id, or by id and how often it came before where ids repeat."""
    ids = [str(record.id) for record in records]
    names: Sequence[Hashable] = keys(ids) if inputs.task.repeated_ids else ids
    found: dict[Hashable, Asked] = {}
    for name, record in zip(names, records, strict=True):
        if name in found:
            raise MergeError(
                f"two {what} have the id {shown(record.id)}",
                where=f"{found[name].where}\n{record.where}",
                hint="every id may occur once; were two runs written to one file?",
            )
        found[name] = record
    return found


def _unmatched_answer(inputs: ScoringInput, prediction: Prediction) -> MergeError:
    """The error for an answer to a question that is not there."""
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
