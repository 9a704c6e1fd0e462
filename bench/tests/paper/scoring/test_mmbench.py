"""MMBench: tables, options, and all orders of a question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustmerge.errors import MergeError
from robustmerge_bench.paper.data.read import read_questions
from robustmerge_bench.paper.scoring.mmbench import fixed_option, official_option

COLUMNS = "index question hint A B C D answer category image source l2-category comment split"
HEAD = COLUMNS.split(" ")
ANIMALS = {"A": "a cat", "B": "a dog", "C": "two cats"}


def table(folder: Path, *rows: dict[str, Any]) -> Path:
    lines = ["\t".join(HEAD)]
    for row in rows:
        full = {"question": "What is it?", "category": "animal", "l2-category": "seeing", **row}
        lines.append("\t".join(str(full.get(name, "")) for name in HEAD))
    path = folder / "dev.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def orders(index: int, **more: Any) -> list[dict[str, Any]]:
    """One question in all three orders of its options; a dog is right."""
    names = list(ANIMALS.values())
    made = []
    for k in range(3):
        turned = names[k:] + names[:k]
        row = dict(zip("ABC", turned, strict=True))
        answer = "ABC"[turned.index("a dog")]
        made.append({"index": index + k * 1_000_000, "answer": answer, **row, **more})
    return made


@pytest.mark.parametrize(
    ("text", "official", "fixed"),
    [
        ("B", "B", "B"), ("B.", "B", "B"), ("(B)", "B", "B"), ("B. a dog", "B", "B"),
        ("b", "", "B"), ("The answer is B", "B", "B"), ("I would say B here", "B", ""),
        ("a dog", "B", "B"), ("A dog.", "A", "B"), ("It is a dog", "B", "B"),
        ("a cat or a dog", "", ""), ("A or B", "", ""), ("", "", ""), ("D", "", ""),
        ("zebra", "", ""), ("a doghouse", "B", ""), ("two cats, and a cat", "", ""),
        ("A kind of dog", "", ""), ("B is what I see in this picture here", "", ""),
        ("well it is a dog" + " indeed" * 9, "", "B"),
    ],
)  # fmt: skip
def test_the_option_that_is_meant(text: str, official: str, fixed: str) -> None:
    assert official_option(text, ANIMALS) == official
    assert fixed_option(text, ANIMALS) == fixed


@pytest.mark.parametrize("protocol", ["official", "fixed"])
def test_right_in_every_order(scoring: Any, protocol: str) -> None:
    path = table(scoring.folder, *orders(7), *orders(8, category="plant"))
    right = [(index + k * 1_000_000, "BAC"[k]) for index in (7, 8) for k in range(3)]
    score = scoring.score("mmbench", path, right, protocol)
    assert (score.value, score.n, score.ids) == (100, 2, (7, 8))
    assert score.chance == pytest.approx(100 / 27)
    always_b = [(index, "B") for index, _ in right]
    score = scoring.score("mmbench", path, [*right[:3], *always_b[3:]], protocol)
    assert score.rows[:, 0].tolist() == [100, 0]
    assert score.parts == {
        "orders of a question": 3, "first order": 100, "every answer": pytest.approx(400 / 6),
        "animal": 100, "plant": 0, "seeing": 50,
    }  # fmt: skip


def test_asked_once(scoring: Any) -> None:
    path = table(scoring.folder, orders(7)[0], orders(8)[0])
    score = scoring.score("mmbench", path, [(7, "a dog"), (8, "zebra")], "fixed")
    assert (score.value, score.unparsable, score.parts["orders of a question"]) == (50, 0.5, 1)
    assert score.chance == pytest.approx(100 / 3)


def test_the_first_order_is_the_one_of_the_least_index(scoring: Any) -> None:
    path = table(scoring.folder, *reversed(orders(7)))
    answers = [(7, "B"), (1_000_007, "B"), (2_000_007, "B")]
    assert scoring.score("mmbench", path, answers, "fixed").parts["first order"] == 100


def test_what_a_table_holds(tmp_path: Path) -> None:
    picture = "A" * 200_000
    row = orders(7)[0] | {"hint": "Look.", "image": picture, "C": "nan"}
    (question,) = read_questions(table(tmp_path, row))
    assert question.text == "Look.\nWhat is it?\nA. a cat\nB. a dog"
    assert (question.id, question.image) == (7, None)
    assert question.content["image"] == picture
    assert question.where.endswith("dev.tsv, row 1")


def test_tables_that_are_none(scoring: Any) -> None:
    path = scoring.folder / "dev.tsv"
    path.write_text("question,answer\nx,A\n")
    with pytest.raises(MergeError, match="no column index, question, A, … and 1 more"):
        scoring.score("mmbench", path, [(7, "B")], "fixed")
    with pytest.raises(MergeError, match="the index is 'x'") as caught:
        scoring.score(
            "mmbench", table(scoring.folder, orders(7)[0], {"index": "x"}), [(7, "B")], "fixed"
        )
    assert "row 2" in caught.value.where
    for answer in "", "D", "dog":
        secret = table(scoring.folder, orders(7)[0] | {"answer": answer})
        with pytest.raises(MergeError, match="none of the options A, B, C"):
            scoring.score("mmbench", secret, [(7, "B")], "fixed")
