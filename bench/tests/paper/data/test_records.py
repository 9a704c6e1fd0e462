"""Files of questions and predictions: what is read, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustmerge.errors import MergeError
from robustmerge_bench.paper.data.predictions import read_predictions
from robustmerge_bench.paper.data.questions import keys
from robustmerge_bench.paper.data.read import read_questions

GOOD = '{"question_id": 1, "text": "a"}'


@pytest.mark.parametrize(
    "text",
    [
        f"[{GOOD}, {GOOD}]", f"{GOOD}\n{GOOD}\n", f"\n{GOOD}\r\n\n{GOOD}", f"\ufeff{GOOD}\n{GOOD}",
        f" [{GOOD},\n{GOOD}]\n",
    ],
)  # fmt: skip
def test_a_list_or_lines(tmp_path: Path, text: str) -> None:
    path = tmp_path / "q.json"
    path.write_text(text, encoding="utf-8", newline="")
    assert [(q.id, q.text, q.image) for q in read_questions(path)] == [(1, "a", None)] * 2
    assert [(p.id, p.text, p.prompt) for p in read_predictions(path)] == [(1, "a", "")] * 2


def test_separators_within_a_text_end_no_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"question_id": 1, "text": "a\u2028b\u0085c"}\n', encoding="utf-8")
    assert read_predictions(path)[0].text == "a\u2028b\u0085c"


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("", "the file is empty", ""), (" \n", "the file is empty", ""),
        (f"{GOOD}\n" + '{"question_id": 2, "te', "not JSON", ", line 2"),
        (f"[{GOOD}, ", "not JSON", ""), (f"{GOOD}\n3\n", "3 is not an object", ", line 2"),
        ("[[1]]", "is not an object", ", record 1"),
        (f"{GOOD}\n" + '{"text": "a"}', "no question_id", ", line 2"),
        ('{"question_id": true, "text": "a"}', "question_id is True, not text", ", line 1"),
        ('{"question_id": 1.0, "text": "a"}', "question_id is 1.0", ", line 1"),
        ('{"question_id": 1}', "no text", ", line 1"),
        ('{"question_id": 1, "text": null}', "text is None, not text", ", line 1"),
        ('{"question_id": 1, "text": ["a"]}', r"text is \['a'\], not text", ", line 1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("read", [read_questions, read_predictions])
def test_what_is_refused(tmp_path: Path, text: str, message: str, place: str, read: Any) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(text)
    with pytest.raises(MergeError, match=message) as caught:
        read(path)
    assert caught.value.where == f"{path}{place}"


def test_fields_of_other_types(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"question_id": 1, "text": "a", "prompt": 3, "image": 4}')
    with pytest.raises(MergeError, match="prompt is 3, not text"):
        read_predictions(path)
    with pytest.raises(MergeError, match="image is 4, not the path of a file"):
        read_questions(path)
    with pytest.raises(MergeError, match="cannot read the file"):
        read_questions(tmp_path / "none.json")


def test_keys_of_ids_that_repeat() -> None:
    assert keys(["a", 1, "a", "1", "a"]) == [("a", 0), (1, 0), ("a", 1), ("1", 0), ("a", 2)]
