"""`robustmerge bench score`: scores of predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table

from robustmerge.errors import unknown

if TYPE_CHECKING:  # numpy is imported inside, so that help stays instant
    from ..paper.score import Protocol, Score
    from ..paper.tasks import PaperTask

_WHAT = {
    "mean": "",
    "points": ", points of perception",
    "f1": ", mean F1",
    "captions": ", mean of metrics",
}


def score(
    *,
    task: str,
    predictions: Path,
    questions: Path,
    references: Path | None = None,
    protocol: Literal["official", "fixed", "both"] = "both",
    missing: Literal["refuse", "wrong"] = "refuse",
    json: Path | None = None,
) -> None:
    """Score a task's predictions, without a model.

    Args:
        task: Name of the task: scienceqa, imagenet, vqav2, rec, ocrvqa, vizwiz, flickr30k, iconqa,
            aokvqa, imagenet-r, screen2words, tabmwp; pope, mme, mmbench; cars, mnist, sun397,
            gtsrb, resisc45, dtd, eurosat, svhn.
        predictions: The answers: JSON lines with question_id and text.
        questions: The task's question file, or its folder of images by class.
        references: The right answers, where they are not in the questions: captions, ScienceQA's
            problems.json, the label folders of POPE and MME. Found next to the questions
            under their usual name unless given.
        protocol: official reproduces the released scripts, bug for bug; fixed is right; both
            shows them side by side.
        missing: What fixed does about questions without an answer: refuse, or count them as wrong.
        json: File to write the score to, with a row for every sample; of both protocols, the
            name gets .official and .fixed before its ending.
    """
    from ..paper.data.read import read_questions
    from ..paper.scoring import score as compute
    from ..paper.scoring.rules import RULES
    from ..paper.tasks import TASKS

    if task not in TASKS:
        raise unknown("task", task, TASKS, where="--task")
    protocols: tuple[Protocol, ...] = ("official", "fixed") if protocol == "both" else (protocol,)
    known = TASKS[task]
    scores = [
        compute(known, questions, predictions, protocol=p, references=references, missing=missing)
        for p in protocols
    ]
    count = len(read_questions(questions)) if RULES[known.kind].counts == "answers" else None
    _print(known, scores, count)
    for each in scores if json else ():
        assert json is not None
        path = json if len(scores) == 1 else json.with_suffix(f".{each.protocol}{json.suffix}")
        each.write(path)
        print(f"written to {path}")


def _print(task: PaperTask, scores: Sequence[Score], questions: int | None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(task.title + _WHAT[scores[0].figure], style="bold")
    for each in scores:
        table.add_column(each.protocol, justify="right")
    for label, shown in _LINES:
        table.add_row(label, *(shown(each) for each in scores))
    for part in dict.fromkeys(part for each in scores for part in each.parts):
        cells = (f"{e.parts[part]:.2f}" if part in e.parts else "-" for e in scores)
        table.add_row(f"  {part}", *cells, style="dim")
    console.print(table)
    for note in _notes(task, scores, questions):
        console.print(f"note: {note}", markup=False)


_LINES: tuple[tuple[str, Callable[[Score], str]], ...] = (
    ("score", lambda s: f"{s.value:.2f}{' *' if s.missing else ''}"),
    ("95% interval", lambda s: " to ".join(f"{end:.2f}" for end in s.interval())),
    ("samples", lambda s: str(s.n)),
    ("empty answers", lambda s: f"{s.empty:.1%}"),
    ("unparsable answers", lambda s: f"{s.unparsable:.1%}"),
    ("chance", lambda s: "-" if s.chance is None else f"{s.chance:.2f}"),
)


def _notes(task: PaperTask, scores: Sequence[Score], questions: int | None) -> list[str]:
    from ..metrics import java
    from ..paper.scoring.protocol_differences import explain_difference

    notes = []
    counted = scores[0].n
    if questions is not None and scores[0].protocol == "official" and counted != questions:
        notes.append(
            f"official counts the {counted} answers that are there, of {questions} questions"
        )
    absent = next((each.missing for each in scores if each.missing), ())
    if absent:
        notes.append(
            f"* {', '.join(absent)} is missing, since {java.missing_software()}; the score is the "
            "mean of the other metrics, and not comparable with published ones"
        )
    if task.kind == "mmbench":
        notes.append("no language model judged the unparsable answers; they count as wrong")
    if len(scores) > 1 and (reason := explain_difference(task, *scores)):
        notes.append(reason)
    return notes
