"""MMBench, whose images are in its table."""

from __future__ import annotations

import base64
import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from bench_factories.tiny_models import draw
from robustmerge import MergeError
from robustmerge.collect.processor import open_image
from robustmerge_bench.paper.answering.engine import Request
from robustmerge_bench.paper.answering.options import AnsweringOptions
from robustmerge_bench.paper.answering.questions import read_prompts
from robustmerge_bench.paper.data.find import find
from robustmerge_bench.paper.tasks import TASKS

MMBENCH = TASKS["mmbench"]
COLUMNS = ["index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image"]


def table(root: Path, *images: str) -> Path:
    """A table with these in the column of images."""
    path = root / "mmbench" / MMBENCH.questions[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    rows = csv.writer(text, dialect="excel-tab")
    rows.writerow(COLUMNS)
    for number, image in enumerate(images):
        hint = "nan" if number % 2 else "Look\tclosely.\nTwice."
        index = str(241 + number)
        rows.writerow([index, "Which?", hint, "cat", "dog", "nan", "nan", "B", "animals", image])
    path.write_text(text.getvalue())
    return root


def base64_of(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_what_is_requested_is_what_llavas_script_asks(tmp_path: Path) -> None:
    files = [draw(tmp_path / f"{n}.jpg", n) for n in range(2)]
    root = table(tmp_path, *map(base64_of, files), "241")
    paper = read_prompts(root, MMBENCH, AnsweringOptions())
    tail = (
        "Which?\nA. cat\nB. dog\nAnswer with the option's letter from the given choices directly."
    )
    assert [one.text for one in paper.questions] == [
        f"Look\tclosely.\nTwice.\n{tail}",
        tail,
        f"Look\tclosely.\nTwice.\n{tail}",
    ]
    assert [one.id for one in paper.questions] == [241, 242, 243]
    assert [one.image for one in paper.questions] == [
        files[0].read_bytes(),
        files[1].read_bytes(),
        files[0].read_bytes(),
    ]
    assert {one.framing for one in paper.questions} == {"pad"}
    line = json.loads(paper.line(1, "B", "m"))
    assert (line["question_id"], line["prompt"]) == (242, tail)
    only = read_prompts(root, MMBENCH, AnsweringOptions(limit=1))
    assert only.questions == paper.questions[:1]


def test_its_images_are_opened_like_files(tmp_path: Path) -> None:
    path = draw(tmp_path / "0.png", 0)
    one = open_image(path.read_bytes(), "here")
    assert one.tobytes() == Image.open(path).convert("RGB").tobytes()
    with pytest.raises(MergeError, match="cannot read the image") as caught:
        open_image(b"GIF89a", "table.tsv, row 7")
    assert "table.tsv, row 7" in str(caught.value)


@pytest.mark.parametrize(
    ("image", "problem"),
    [("", "no image"), ("999", "no image"), ("???not base64", "not base64"), ("242", "base64")],
)
def test_a_image_that_is_none(tmp_path: Path, image: str, problem: str) -> None:
    root = table(tmp_path, base64_of(draw(tmp_path / "0.png", 0)), image)
    with pytest.raises(MergeError, match=problem) as caught:
        read_prompts(root, MMBENCH, AnsweringOptions())
    assert "row 2, question 242" in str(caught.value)


def test_a_server_is_sent_the_image_too(tmp_path: Path) -> None:
    from robustmerge_bench.paper.answering.engines.server import ServerEngine

    path = draw(tmp_path / "0.jpg", 0, (30, 20))
    server = object.__new__(ServerEngine)
    server._frames = True
    request = Request(1, "Which?", path.read_bytes(), "crop", 3, "here")
    assert request.image is not None
    assert server._image_url(request, request.image) == f"data:image/jpeg;base64,{base64_of(path)}"
    padded = server._image_url(replace(request, framing="pad"), request.image)
    assert padded.startswith("data:image/png;base64,")


def test_references_may_be_folders(tmp_path: Path) -> None:
    (tmp_path / "eval/pope/coco").mkdir(parents=True)
    (tmp_path / "eval/pope/llava_pope_test.jsonl").write_text("{}")
    assert find(tmp_path, TASKS["pope"]).references == tmp_path / "eval/pope/coco"
