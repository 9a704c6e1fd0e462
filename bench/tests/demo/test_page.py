"""The page: whole HTML, nothing from elsewhere, whatever models answer."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from page import ModelAnswer, PageExample, PageRow, page, row_html, tidy, verdict
from robustmerge_bench.item import Item
from robustmerge_bench.mini.tasks import SEEN, TASKS, UNSEEN

VOID = {"meta", "img"}
NASTY = "<script>alert('1')</script> & \"quotes\" `code` https://example.org"


class Tree(HTMLParser):
    """The elements of a page, refused unless every one is closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def line(name: str, score: float, tasks: tuple[str, ...] = tuple(TASKS), **more: object) -> PageRow:
    return PageRow(name, dict.fromkeys(tasks, score), **more)  # type: ignore[arg-type]


def made(answer: str = "a cup", items: int = 1, name: str = "ties") -> str:
    examples = {
        task: [
            PageExample(item, (ModelAnswer("zero-shot", "", 0.0), ModelAnswer(name, answer, 100.0)))
            for item in TASKS[task].items("test", items)
        ]
        for task in TASKS
    }
    lines = [line("expert", 90.0, SEEN, sort="experts"), line(name, 80.0, best=True)]
    return page("A title", ["Some `code` & words."], lines, ["So."], examples, "All.", [NASTY])


def test_the_page_is_whole_html() -> None:
    tree = Tree(made(items=2))
    assert [tag for tag, _ in tree.found[:2]] == ["html", "head"]
    assert len(tree.all("article")) == 12
    assert len(tree.all("img")) == 24
    assert len(tree.all("tr")) == 3


def test_nothing_comes_from_elsewhere_and_nothing_runs() -> None:
    text = made()
    tree = Tree(text)
    assert not {tag for tag, _ in tree.found} & {"script", "link", "iframe", "a", "object"}
    for _, attributes in tree.found:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    outside = text.replace("https://example.org", "")  # words of a note
    assert not re.search(r"//|@import|url\(", re.sub(r'"data:[^"]*"', "", outside))


@pytest.mark.parametrize("answer", [NASTY, "</dd></main>", "&lt;", "<", '"', "'"])
def test_answers_and_names_are_shown_to_the_letter_and_never_obeyed(answer: str) -> None:
    tree = Tree(made(answer, name=answer))
    assert not tree.all("script")
    assert tree.text.count(answer) >= 12
    assert {tag for tag, _ in tree.found} == {tag for tag, _ in Tree(made()).found}


def test_every_question_and_right_answer_is_there() -> None:
    words = set(Tree(made(items=3)).text)
    for task in TASKS.values():
        for item in task.items("test", 3):
            assert tidy(item.prompt) in words
            assert item.answer in words


def test_images_are_the_items_pixels() -> None:
    sources = [image["src"] for image in Tree(made()).all("img")]
    for source, task in zip(sources, TASKS.values(), strict=True):
        assert source is not None
        head, data = source.split(",")
        assert head == "data:image/png;base64"
        pixels = np.array(Image.open(io.BytesIO(base64.b64decode(data))))
        assert np.array_equal(pixels, task.items("test", 1)[0].image)


def test_a_right_box_is_framed_where_it_is() -> None:
    black = np.zeros((48, 48, 3), np.uint8)
    item = Item("rec", "small", black, "where ?", "3 0 6 3", ("3 0 6 3",))
    answers = (ModelAnswer("ties", "1 2", 0.0),)
    text = page("", [], [line("ties", 1.0)], [], {"rec": [PageExample(item, answers)]}, "", [])
    frames = [a["style"] for a in Tree(text).all("span") if a.get("class") == "frame"]
    assert frames == ["left:50.00%;top:0.00%;width:50.00%;height:50.00%"]


@pytest.mark.parametrize(
    ("score", "sign", "word"),
    [
        (100.0, "✓", "right"),
        (99.99996, "✓", "right"),
        (0.0, "✗", "wrong"),
        (30.0, "≈", "30 of 100"),
        (64.4, "≈", "64 of 100"),
    ],
)
def test_a_verdict_is_a_word_beside_its_color(score: float, sign: str, word: str) -> None:
    assert verdict(score)[1:] == (sign, word)


def test_means_are_of_the_seen_and_of_the_unseen_tasks() -> None:
    scores = dict.fromkeys(SEEN, 10.0) | dict.fromkeys(UNSEEN, 30.0) | {"sqa": 90.0, "tab": 70.0}
    both = PageRow("ties", scores)
    assert (both.mean(SEEN), both.mean(UNSEEN)) == (20.0, 40.0)
    assert re.findall(r'class="mean"[^>]*>([^<]*)<', row_html(both)) == ["20.0", "40.0"]


def test_what_was_not_asked_has_no_score_and_no_mean() -> None:
    own = line("expert", 90.0, SEEN)
    assert own.mean(UNSEEN) is None
    assert line("some", 90.0, ("sqa", "viz")).mean(SEEN) is None
    assert re.findall(r"<td[^>]*>([^<]*)<", row_html(own)) == ["90.0"] * 9 + ["–"] * 5


def test_the_best_is_marked_by_words() -> None:
    assert "best merge" in row_html(line("ties", 1.0, best=True))
    assert "best merge" not in row_html(line("ties", 1.0))


def test_questions_are_written_as_people_do() -> None:
    assert tidy("what is it ? say , in brief .") == "what is it? say, in brief."
