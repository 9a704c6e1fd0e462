"""What models scored and what they answered, as one page: no scripts, nothing from elsewhere.

Pictures are inside the page; they are 48 x 48 pixels, and shown as such. What is right and what is
wrong is said by a sign and a word, not by a color alone.
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
    """One line of the table.

    Attributes:
        name: Of the model.
        scores: Of its tasks, 0 to 100; those it was not asked have none.
        sort: chance, zero-shot, experts, joint or merge.
        best: Whether to mark it.
    """

    name: str
    scores: Mapping[str, float]
    sort: str = "merge"
    best: bool = False

    def mean(self, tasks: Sequence[str]) -> float | None:
        """The mean of the tasks' scores, if it has them all."""
        if any(task not in self.scores for task in tasks):
            return None
        return fmean(self.scores[task] for task in tasks)


@dataclass(frozen=True)
class ModelAnswer:
    """What a model answered, and the score of that, 0 to 100."""

    name: str
    answer: str
    score: float


@dataclass(frozen=True)
class PageExample:
    """A question and what models answered."""

    item: Item
    said: tuple[ModelAnswer, ...]


def page(
    title: str,
    lead: Sequence[str],
    lines: Sequence[PageRow],
    finding: Sequence[str],
    examples: Mapping[str, Sequence[PageExample]],
    rule: str,
    notes: Sequence[str],
) -> str:
    """The whole page.

    Args:
        title: Its heading.
        lead: Paragraphs before the table.
        lines: Of the table.
        finding: Paragraphs on what the table says.
        examples: Of each task, by its name.
        rule: How the examples were chosen.
        notes: Paragraphs at the end.
    """
    style = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    parts = (
        f'<header><p class="brand">robustmerge</p><h1>{escape(title)}</h1>{paragraphs(lead)}'
        "</header>",
        f"<section><h2>Scores</h2>{table(lines)}{paragraphs(finding)}</section>",
        f"<section><h2>Seen tasks</h2><p>{escape(rule)}</p>{cards(SEEN, examples)}</section>",
        "<section><h2>Unseen tasks</h2><p>No expert was trained on these. Each asks at once for "
        f"what several experts know.</p>{cards(UNSEEN, examples)}</section>",
        f"<footer>{paragraphs(notes)}</footer>",
    )
    return html_page(title, style, parts)


def paragraphs(texts: Sequence[str]) -> str:
    """Paragraphs; what stands between backquotes is code."""
    return "".join(f"<p>{coded(text)}</p>" for text in texts)


def coded(text: str) -> str:
    """A text whose parts between backquotes are code."""
    parts = [escape(part) for part in text.split("`")]
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))


# --- The table ------------------------------------------------------------------------------------


def table(lines: Sequence[PageRow]) -> str:
    """Tasks as columns, with a mean after the seen and after the unseen ones."""
    heads = "".join(head(name) for name in SEEN) + '<th scope="col" class="mean">seen</th>'
    heads += "".join(head(name) for name in UNSEEN) + '<th scope="col" class="mean">unseen</th>'
    rows = "\n".join(map(row, lines))
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Scores of all models"><table>'
        f'<thead><tr><th scope="col">0 to 100</th>{heads}</tr></thead><tbody>\n{rows}\n</tbody>'
        "</table></div>"
    )


def head(name: str) -> str:
    """The head of a task's column."""
    return f'<th scope="col"><abbr title="{escape(TASKS[name].title)}">{escape(name)}</abbr></th>'


def row(line: PageRow) -> str:
    """One line of the table."""
    star = '<span class="star" title="the best merge">★ best merge</span>' if line.best else ""
    cells = "".join(cell(line.scores.get(task)) for task in SEEN)
    cells += cell(line.mean(SEEN), "mean")
    cells += "".join(cell(line.scores.get(task)) for task in UNSEEN)
    cells += cell(line.mean(UNSEEN), "mean")
    marked = f"{line.sort} best" if line.best else line.sort
    return f'<tr class="{marked}"><th scope="row">{escape(line.name)}{star}</th>{cells}</tr>'


def cell(score: float | None, sort: str = "") -> str:
    """A score on a ground as strong as it is high."""
    marked = f' class="{sort}"' if sort else ""
    if score is None:
        return f"<td{marked}>–</td>"
    return f'<td{marked} style="--score:{score:.0f}">{score:.1f}</td>'


# --- The examples ---------------------------------------------------------------------------------


def cards(names: Sequence[str], examples: Mapping[str, Sequence[PageExample]]) -> str:
    """A card for each of these tasks that has examples."""
    found = [card(TASKS[name], examples[name]) for name in names if examples.get(name)]
    return f'<div class="cards">{"".join(found)}</div>'


def card(task: MiniTask, examples: Sequence[PageExample]) -> str:
    """A task and its examples."""
    return (
        f'<article><h3><span class="name">{escape(task.name)}</span> like {escape(task.title)}'
        f"<small>{escape(KIND.get(task.metric, task.metric))}</small></h3>"
        f"{''.join(map(example_of, examples))}</article>"
    )


def example_of(example: PageExample) -> str:
    """A picture with its question, the right answer, and what models said."""
    item = example.item
    said = "".join(map(answer, example.said))
    shown = f"A picture of the task {item.task}: {item.kind}"
    return (
        f'<div class="example"><div class="picture">'
        f'<img src="{picture(item)}" width="144" height="144" alt="{escape(shown)}">{frame(item)}'
        f'</div><div class="talk"><p class="question">{escape(tidy(item.prompt))}</p>'
        f'<p class="truth">{escape(item.answer)}</p><dl>{said}</dl></div></div>'
    )


def tidy(prompt: str) -> str:
    """A question as people write it; for the models every mark is a word of its own."""
    return re.sub(r" +([.,?])", r"\1", prompt)


def answer(said: ModelAnswer) -> str:
    """One answer, and whether it is right."""
    sort, sign, word = verdict(said.score)
    text = escape(said.answer) if said.answer else "<em>says nothing</em>"
    return (
        f'<div class="{sort}"><dt>{escape(said.name)}</dt><dd>{text} '
        f'<span class="verdict"><b aria-hidden="true">{sign}</b> {word}</span></dd></div>'
    )


def verdict(score: float) -> tuple[str, str, str]:
    """Class, sign and word for a score."""
    if score >= RIGHT:
        return "right", "✓", "right"
    if score <= WRONG:
        return "wrong", "✗", "wrong"
    return "partly", "≈", f"{score:.0f} of 100"


def frame(item: Item) -> str:
    """The right box, drawn around its place in the picture; nothing where boxes are not asked."""
    box = parse(item.references[0]) if TASKS[item.task].metric == "iou" else None
    if box is None:
        return ""
    x1, y1, x2, y2 = (100 * side / GRID for side in box)
    place = f"left:{x1:.2f}%;top:{y1:.2f}%;width:{x2 - x1:.2f}%;height:{y2 - y1:.2f}%"
    return f'<span class="frame" style="{place}"></span>'


def picture(item: Item) -> str:
    """The item's picture as a data URI."""
    file = io.BytesIO()
    Image.fromarray(item.image).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
