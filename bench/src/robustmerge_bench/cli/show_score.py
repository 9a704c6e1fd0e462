"""What `robustmerge bench score` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from robustmerge.errors import unknown

from ..metrics import java
from ..paper.data.read import read_questions
from ..paper.score import Protocol, Score
from ..paper.scoring import Missing, score
from ..paper.scoring.differ import LINE_BY_LINE, why
from ..paper.tasks import TASKS, PaperTask

_WHAT = {
    "mean": "",
    "points": ", points of perception",
    "f1": ", mean F1",
    "captions": ", mean of metrics",
}
Shown = tuple[str, Callable[[Score], str]]


def run(
    name: str,
    predictions: Path,
    questions: Path,
    references: Path | None,
    protocol: Literal["official", "fixed", "both"],
    missing: Missing,
    json: Path | None,
) -> None:
    """Score, print the table, and write the scores if asked to.

    Raises:
        MergeError: There is no such task, or whatever scoring raises.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS, where="--task")
    task = TASKS[name]
    protocols: tuple[Protocol, ...] = ("official", "fixed") if protocol == "both" else (protocol,)
    scores = [
        score(task, questions, predictions, protocol=one, references=references, missing=missing)
        for one in protocols
    ]
    asked = len(read_questions(questions)) if task.kind in LINE_BY_LINE else None
    _print(task, scores, asked)
    for each in scores if json else ():
        assert json is not None
        path = json if len(scores) == 1 else json.with_suffix(f".{each.protocol}{json.suffix}")
        each.write(path)
        print(f"written to {path}")


def _print(task: PaperTask, scores: Sequence[Score], asked: int | None) -> None:
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
    for note in _notes(task, scores, asked):
        console.print(f"note: {note}", markup=False)


def _interval(score: Score) -> str:
    low, high = score.interval()
    return f"{low:.2f} to {high:.2f}"


_LINES: tuple[Shown, ...] = (
    ("score", lambda s: f"{s.value:.2f}{' *' if s.missing else ''}"),
    ("95% interval", _interval),
    ("samples", lambda s: str(s.n)),
    ("empty answers", lambda s: f"{s.empty:.1%}"),
    ("unparsable answers", lambda s: f"{s.unparsable:.1%}"),
    ("chance", lambda s: "-" if s.chance is None else f"{s.chance:.2f}"),
)


def _notes(task: PaperTask, scores: Sequence[Score], asked: int | None) -> list[str]:
    notes = []
    counted = scores[0].n
    if asked is not None and scores[0].protocol == "official" and counted != asked:
        notes.append(f"official counts the {counted} answers that are there, of {asked} questions")
    absent = next((each.missing for each in scores if each.missing), ())
    if absent:
        notes.append(
            f"* {', '.join(absent)} is missing, since {java.what_is_missing()}; the score is the "
            "mean of the other metrics, and not comparable with published ones"
        )
    if task.kind == "mmbench":
        notes.append("no language model judged the unparsable answers; they count as wrong")
    if len(scores) > 1 and (reason := why(task, *scores)):
        notes.append(reason)
    return notes
