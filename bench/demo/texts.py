"""Texts of the demo: rows of the table, findings, examples and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from answers import TaskAnswers
from page import ModelAnswer, PageExample, PageRow
from robustmerge_bench.mini.tasks import SEEN, TASKS, UNSEEN
from robustmerge_bench.results.comparison import paired_difference

CHANCE, ZERO, EXPERTS, JOINT = "chance", "zero-shot", "experts", "joint training"
EXAMPLES = 3  # of each task

TITLE = "Eight experts, one adapter"
RULE = (
    f"Below are the first {EXAMPLES} test questions of each task, whatever was answered: none was "
    "picked. The merges shown are the first of the table and the best of the others."
)

AnswersByModel = Mapping[str, Mapping[str, TaskAnswers]]
"""The answers of every model to every task, by model and task."""


def lead(merges: int) -> list[str]:
    """Introduce the demo."""
    return [
        "A tiny LLaVA looks at images of 48 x 48 pixels and answers questions. Eight LoRA "
        "experts were trained from it, each on a task of its own: its look, its words, its format.",
        "`robustmerge` makes one adapter of all eight, without training and without data, here in "
        f"{merges} {'way' if merges == 1 else 'ways'}. How much of what the experts learned does "
        "it still know? And can it do four tasks that none of them has seen?",
    ]


def score_rows(answers: AnswersByModel, merged: Sequence[str]) -> list[PageRow]:
    """Return the rows of the table, the best merge on seen tasks marked; in a tie, the first."""
    means = {
        name: {task: s.mean for task, s in by_task.items()} for name, by_task in answers.items()
    }
    best = max(merged, key=lambda name: seen(PageRow(name, means[name])))
    return [
        PageRow(CHANCE, {name: task.chance for name, task in TASKS.items()}, "chance"),
        PageRow(ZERO, means[ZERO], "zero-shot"),
        PageRow("expert, own task", means[EXPERTS], "experts"),
        PageRow(JOINT, means[JOINT], "joint"),
        *(PageRow(name, means[name], best=name == best) for name in merged),
    ]


def seen(row: PageRow) -> float:
    """Return the mean of the seen tasks, which every row has."""
    mean = row.mean(SEEN)
    assert mean is not None
    return mean


def findings(rows: Sequence[PageRow], answers: AnswersByModel, items: int) -> list[str]:
    """Write two sentences on the table, and one on how certain they are."""
    _, zero, experts, joint, *merges = rows
    best = next(row for row in merges if row.best)
    gain = seen(experts) - seen(zero)
    kept = f", {100 * (seen(best) - seen(zero)) / gain:.0f}% of the way" if gain > 0 else ""
    unseen, before = best.mean(UNSEEN), zero.mean(UNSEEN)
    return [
        f"Seen tasks: the base scores {seen(zero):.1f} and the experts {seen(experts):.1f}; the "
        f"best merge, {best.name}, reaches {seen(best):.1f}{kept}. Training on all eight at once, "
        f"which takes their data, reaches {seen(joint):.1f}.",
        f"Unseen tasks: the base scores {before:.1f}, that merge {unseen:.1f}.",
        describe_certainty(best, merges, answers, items),
    ]


def describe_certainty(
    best: PageRow, merges: Sequence[PageRow], answers: AnswersByModel, items: int
) -> str:
    """Say whether the best merge is better than the next by more than chance."""
    others = sorted((row for row in merges if not row.best), key=seen, reverse=True)
    if not others:
        return f"{items} questions of each task were asked."
    second = others[0]
    ours, theirs = (
        {task: answers[row.name][task].scores for task in SEEN} for row in (best, second)
    )
    gap = paired_difference(ours, theirs)
    by = gap.difference
    sure = "more than chance" if gap.significant else "no more than chance may do"
    return (
        f"Next comes {second.name}, {by.value:.1f} points behind (95% interval {by.low:.1f} to "
        f"{by.high:.1f}, {items} questions of each task): {sure}."
    )


def examples(
    answers: AnswersByModel, rows: Sequence[PageRow], seed: int
) -> dict[str, list[PageExample]]:
    """Return the first questions of every task, with answers of base, expert and two merges."""
    labels = {ZERO: ZERO, EXPERTS: "its expert"} | {name: name for name in shown_merges(rows)}
    by_task: dict[str, list[PageExample]] = {}
    for name, task in TASKS.items():
        models = {model: label for model, label in labels.items() if name in answers[model]}
        count = len(answers[ZERO][name].answers)
        by_task[name] = [
            PageExample(
                item,
                tuple(
                    ModelAnswer(label, *answer_and_score(answers[model][name], position))
                    for model, label in models.items()
                ),
            )
            for position, item in enumerate(task.items("test", min(EXAMPLES, count), seed))
        ]
    return by_task


def shown_merges(rows: Sequence[PageRow]) -> list[str]:
    """Name the first merge, and the best of the others."""
    first, *others = [row for row in rows if row.sort == "merge"]
    return [row.name for row in (first, *sorted(others, key=seen, reverse=True)[:1])]


def answer_and_score(own: TaskAnswers, position: int) -> tuple[str, float]:
    """Return one answer and its score."""
    return own.answers[position], float(own.scores[position])


def notes(manifest: Mapping[str, Any], items: int, seed: int) -> list[str]:
    """Say how this was made, and what it does not show."""
    made = ", ".join(f"{name} {value}" for name, value in manifest["made_by"].items())
    versions = ", ".join(f"{name} {value}" for name, value in manifest["versions"].items())
    return [
        f"{items} questions of each task, drawn with seed {seed}, from scenes that no training has "
        "seen. The best merge is the best on these very questions, which flatters it a little.",
        "The tasks are of the kinds of those in the RobustMerge paper, in a world of drawn "
        "images. That a method wins here does not say that it wins on a 7B model.",
        f"Base and experts: made on {manifest['date']} by `{made}`, with {versions}.",
        "Try next: `python bench/demo/run.py --methods every`, `robustmerge show`, "
        "`robustmerge methods`.",
    ]
