"""What the demo says of its results: the lines of the table, the finding, the examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from answers import Sitting
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

Sat = Mapping[str, Mapping[str, Sitting]]
"""What every model makes of every task, by model and task."""


def lead(merges: int) -> list[str]:
    """What this is about."""
    return [
        "A tiny LLaVA looks at pictures of 48 x 48 pixels and answers questions. Eight LoRA "
        "experts were trained from it, each on a task of its own: its look, its words, its format.",
        "`robustmerge` makes one adapter of all eight, without training and without data, here in "
        f"{merges} {'way' if merges == 1 else 'ways'}. How much of what the experts learned does "
        "it still know? And can it do four tasks that none of them has seen?",
    ]


def lines_of(sat: Sat, merged: Sequence[str]) -> list[PageRow]:
    """The lines of the table, the best merge on the seen tasks marked; in a tie, the first."""
    means = {name: {task: s.mean for task, s in by_task.items()} for name, by_task in sat.items()}
    best = max(merged, key=lambda name: seen(PageRow(name, means[name])))
    return [
        PageRow(CHANCE, {name: task.chance for name, task in TASKS.items()}, "chance"),
        PageRow(ZERO, means[ZERO], "zero-shot"),
        PageRow("expert, own task", means[EXPERTS], "experts"),
        PageRow(JOINT, means[JOINT], "joint"),
        *(PageRow(name, means[name], best=name == best) for name in merged),
    ]


def seen(line: PageRow) -> float:
    """The mean of the seen tasks, which every line has."""
    mean = line.mean(SEEN)
    assert mean is not None
    return mean


def finding(lines: Sequence[PageRow], sat: Sat, items: int) -> list[str]:
    """Two sentences on what the table says, and one on how sure that is."""
    _, zero, experts, joint, *merges = lines
    best = next(line for line in merges if line.best)
    gain = seen(experts) - seen(zero)
    kept = f", {100 * (seen(best) - seen(zero)) / gain:.0f}% of the way" if gain > 0 else ""
    unseen, before = best.mean(UNSEEN), zero.mean(UNSEEN)
    return [
        f"Seen tasks: the base scores {seen(zero):.1f} and the experts {seen(experts):.1f}; the "
        f"best merge, {best.name}, reaches {seen(best):.1f}{kept}. Training on all eight at once, "
        f"which takes their data, reaches {seen(joint):.1f}.",
        f"Unseen tasks: the base scores {before:.1f}, that merge {unseen:.1f}.",
        certainty(best, merges, sat, items),
    ]


def certainty(best: PageRow, merges: Sequence[PageRow], sat: Sat, items: int) -> str:
    """Whether the best merge is better than the next by more than chance."""
    others = sorted((line for line in merges if not line.best), key=seen, reverse=True)
    if not others:
        return f"{items} questions of each task were asked."
    second = others[0]
    ours, theirs = ({task: sat[line.name][task].scores for task in SEEN} for line in (best, second))
    gap = paired_difference(ours, theirs)
    by = gap.difference
    sure = "more than chance" if gap.significant else "no more than chance may do"
    return (
        f"Next comes {second.name}, {by.value:.1f} points behind (95% interval {by.low:.1f} to "
        f"{by.high:.1f}, {items} questions of each task): {sure}."
    )


def examples(sat: Sat, lines: Sequence[PageRow], seed: int) -> dict[str, list[PageExample]]:
    """The first questions of every task, with the answers of base, expert and two merges."""
    shown = {ZERO: ZERO, EXPERTS: "its expert"} | {name: name for name in two(lines)}
    found: dict[str, list[PageExample]] = {}
    for name, task in TASKS.items():
        models = {model: said for model, said in shown.items() if name in sat[model]}
        asked = len(sat[ZERO][name].answers)
        found[name] = [
            PageExample(
                item,
                tuple(
                    ModelAnswer(said, *at(sat[model][name], place))
                    for model, said in models.items()
                ),
            )
            for place, item in enumerate(task.items("test", min(EXAMPLES, asked), seed))
        ]
    return found


def two(lines: Sequence[PageRow]) -> list[str]:
    """The first merge, and the best of the others."""
    first, *others = [line for line in lines if line.sort == "merge"]
    return [line.name for line in (first, *sorted(others, key=seen, reverse=True)[:1])]


def at(sitting: Sitting, place: int) -> tuple[str, float]:
    """One answer and its score."""
    return sitting.answers[place], float(sitting.scores[place])


def notes(manifest: Mapping[str, Any], items: int, seed: int) -> list[str]:
    """How this was made, and what it does not say."""
    made = ", ".join(f"{name} {value}" for name, value in manifest["made_by"].items())
    versions = ", ".join(f"{name} {value}" for name, value in manifest["versions"].items())
    return [
        f"{items} questions of each task, drawn with seed {seed}, from scenes that no training has "
        "seen. The best merge is the best on these very questions, which flatters it a little.",
        "The tasks are of the kinds of those in the RobustMerge paper, in a world of drawn "
        "pictures. That a method wins here does not say that it wins on a 7B model.",
        f"Base and experts: made on {manifest['date']} by `{made}`, with {versions}.",
        "Try next: `python bench/demo/run.py --methods every`, `robustmerge show`, "
        "`robustmerge methods`.",
    ]
