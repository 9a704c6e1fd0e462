"""Scores and answers of models as one page: no scripts, nothing from elsewhere.

Images of 48 x 48 pixels are inside the page. Right and wrong answers have a sign and a word, not
only a color.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import fmean

from PIL import Image

from robustmerge_bench.item import Item
from robustmerge_bench.metrics.boxes import parse
from robustmerge_bench.mini.tasks import SEEN, TASKS, UNSEEN, MiniTask
from robustmerge_bench.mini.world.scene import GRID
from robustmerge_bench.results.html import page as html_page

RIGHT, WRONG = 99.9, 0.1  # the scores from which on an answer is wholly so; captions round
KIND = {
    "letter": "the letter of an option",
    "caption": "a caption: BLEU and ROUGE-L",
    "exact": "the exact words",
    "vqa": "what ten people said",
    "iou": "a box that overlaps by half",
}


@dataclass(frozen=True)
class PageRow:
    """A row of the table.

    Attributes:
        name: The model's.
        scores: Of its tasks, 0 to 100.
        sort: chance, zero-shot, experts, joint or merge.
        best: Whether to mark it.
    """

    name: str
    scores: Mapping[str, float]
    sort: str = "merge"
    best: bool = False

    def mean(self, tasks: Sequence[str]) -> float | None:
        """Return the mean of the tasks' scores, if there are all."""
        if any(task not in self.scores for task in tasks):
            return None
        return fmean(self.scores[task] for task in tasks)


@dataclass(frozen=True)
class ModelAnswer:
    """A model's answer and its score, 0 to 100."""

    name: str
    answer: str
    score: float


@dataclass(frozen=True)
class PageExample:
    """A question and the models' answers."""

    item: Item
    answers: tuple[ModelAnswer, ...]


def page(
    title: str,
    lead: Sequence[str],
    rows: Sequence[PageRow],
    findings: Sequence[str],
    examples: Mapping[str, Sequence[PageExample]],
    rule: str,
    notes: Sequence[str],
) -> str:
    """Write the whole page.

    Args:
        title: Its heading.
        lead: Paragraphs before the table.
        rows: Of the table.
        findings: Paragraphs on the table.
        examples: Of each task, by its name.
        rule: How the examples were selected.
        notes: Paragraphs at the end.
    """
    style = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    parts = (
        f'<header><p class="brand">robustmerge</p><h1>{escape(title)}</h1>{paragraphs(lead)}'
        "</header>",
        f"<section><h2>Scores</h2>{table_html(rows)}{paragraphs(findings)}</section>",
        f"<section><h2>Seen tasks</h2><p>{escape(rule)}</p>{task_cards(SEEN, examples)}</section>",
        "<section><h2>Unseen tasks</h2><p>No expert was trained on these. Each asks at once for "
        f"what several experts know.</p>{task_cards(UNSEEN, examples)}</section>",
        f"<footer>{paragraphs(notes)}</footer>",
    )
    return html_page(title, style, parts)


def paragraphs(texts: Sequence[str]) -> str:
    """Write paragraphs; text between backquotes is code."""
    return "".join(f"<p>{with_code(text)}</p>" for text in texts)


def with_code(text: str) -> str:
    """Write a text whose parts between backquotes are code."""
    parts = [escape(part) for part in text.split("`")]
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))


# --- The table ------------------------------------------------------------------------------------


def table_html(rows: Sequence[PageRow]) -> str:
    """Write the table: tasks as columns, a mean after the seen and after the unseen ones."""
    heads = ""
    for tasks, mean in ((SEEN, "seen"), (UNSEEN, "unseen")):
        heads += "".join(map(head_html, tasks)) + f'<th scope="col" class="mean">{mean}</th>'
    lines = "\n".join(map(row_html, rows))
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Scores of all models"><table>'
        f'<thead><tr><th scope="col">0 to 100</th>{heads}</tr></thead><tbody>\n{lines}\n</tbody>'
        "</table></div>"
    )


def head_html(name: str) -> str:
    """Write the head of a task's column."""
    return f'<th scope="col"><abbr title="{escape(TASKS[name].title)}">{escape(name)}</abbr></th>'


def row_html(row: PageRow) -> str:
    """Write a row of the table."""
    star = '<span class="star" title="the best merge">★ best merge</span>' if row.best else ""
    cells = ""
    for tasks in (SEEN, UNSEEN):
        cells += "".join(cell_html(row.scores.get(task)) for task in tasks)
        cells += cell_html(row.mean(tasks), "mean")
    marked = f"{row.sort} best" if row.best else row.sort
    return f'<tr class="{marked}"><th scope="row">{escape(row.name)}{star}</th>{cells}</tr>'


def cell_html(score: float | None, sort: str = "") -> str:
    """Write a score on a background as strong as it is high."""
    marked = f' class="{sort}"' if sort else ""
    if score is None:
        return f"<td{marked}>–</td>"
    return f'<td{marked} style="--score:{score:.0f}">{score:.1f}</td>'


# --- The examples ---------------------------------------------------------------------------------


def task_cards(names: Sequence[str], examples: Mapping[str, Sequence[PageExample]]) -> str:
    """Write a card for each of these tasks that has examples."""
    shown = [task_card(TASKS[name], examples[name]) for name in names if examples.get(name)]
    return f'<div class="cards">{"".join(shown)}</div>'


def task_card(task: MiniTask, examples: Sequence[PageExample]) -> str:
    """Write a task and its examples."""
    return (
        f'<article><h3><span class="name">{escape(task.name)}</span> like {escape(task.title)}'
        f"<small>{escape(KIND.get(task.metric, task.metric))}</small></h3>"
        f"{''.join(map(example_html, examples))}</article>"
    )


def example_html(example: PageExample) -> str:
    """Write an image with its question, the right answer, and the models' answers."""
    item = example.item
    answers = "".join(map(answer_html, example.answers))
    shown = f"An image of the task {item.task}: {item.kind}"
    return (
        f'<div class="example"><div class="picture">'
        f'<img src="{image_uri(item)}" width="144" height="144" alt="{escape(shown)}">'
        f"{box_frame(item)}"
        f'</div><div class="talk"><p class="question">{escape(tidy(item.prompt))}</p>'
        f'<p class="truth">{escape(item.answer)}</p><dl>{answers}</dl></div></div>'
    )


def tidy(prompt: str) -> str:
    """Write a question as people do; for the models every punctuation mark is a word."""
    return re.sub(r" +([.,?])", r"\1", prompt)


def answer_html(answer: ModelAnswer) -> str:
    """Write one answer, and whether it is right."""
    sort, sign, word = verdict(answer.score)
    text = escape(answer.answer) if answer.answer else "<em>says nothing</em>"
    return (
        f'<div class="{sort}"><dt>{escape(answer.name)}</dt><dd>{text} '
        f'<span class="verdict"><b aria-hidden="true">{sign}</b> {word}</span></dd></div>'
    )


def verdict(score: float) -> tuple[str, str, str]:
    """Return class, sign and word for a score."""
    if score >= RIGHT:
        return "right", "✓", "right"
    if score <= WRONG:
        return "wrong", "✗", "wrong"
    return "partly", "≈", f"{score:.0f} of 100"


def box_frame(item: Item) -> str:
    """Draw the right box on the image; nothing for tasks without boxes."""
    box = parse(item.references[0]) if TASKS[item.task].metric == "iou" else None
    if box is None:
        return ""
    x1, y1, x2, y2 = (100 * side / GRID for side in box)
    position = f"left:{x1:.2f}%;top:{y1:.2f}%;width:{x2 - x1:.2f}%;height:{y2 - y1:.2f}%"
    return f'<span class="frame" style="{position}"></span>'


def image_uri(item: Item) -> str:
    """Encode the item's image as a data URI."""
    file = io.BytesIO()
    Image.fromarray(item.image).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
