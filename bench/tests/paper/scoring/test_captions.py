"""Captions: which belongs to which image, what is computed, and what happens without Java."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustmerge.errors import MergeError
from robustmerge_bench.metrics import caption_metrics, java
from robustmerge_bench.paper.score import Score

# Counts of exact matches only, and lower case for the tokenizer.
STAND_IN = f"""#!{sys.executable}
import sys
lines = sys.stdin.read().split("\\n")[:-1]
if "-stdio" not in sys.argv:
    print("\\n".join(lines).lower())
    sys.exit()
for line in lines:
    _, *references, caption = [part.split() for part in line.split("|||")]
    found = len(set(caption) & set(references[0]))
    counts = [len(caption), len(references[0]), 0, 0, found, found, *[0] * 14, found, found, found]
    print(*map(float, counts))
"""
REFERENCES = [
    ("x/1.jpg", ("a red dog runs fast", "the dog runs")),
    ("x/2.jpg", ("two cats on a mat", "cats sit on a mat")),
    ("x/3.jpg", ("a man reads a book", "someone reads")),
]
SAID = ["a red dog runs", "cats on a mat", "a man writes a book"]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    java._run.cache_clear()
    yield
    java._run.cache_clear()


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def fake_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    pytest.importorskip("pycocoevalcap")
    path = tmp_path / "bin" / "java"
    path.parent.mkdir()
    path.write_text(STAND_IN)
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(path.parent))
    return path


def coco(numbers: Any = (1, 2, 3), named: bool = True) -> dict[str, Any]:
    images = [
        {"id": number, "file_name": name if named else ""}
        for number, (name, _) in zip(numbers, REFERENCES, strict=False)
    ]
    annotations = [
        {"image_id": number, "caption": caption}
        for number, (_, captions) in zip(numbers, REFERENCES, strict=False)
        for caption in captions
    ]
    return {"images": images, "annotations": annotations}


def questions(names: Any = ("./1.jpg", "./2.jpg", "./3.jpg")) -> list[dict[str, Any]]:
    return [{"question_id": f"q{i}", "image": name} for i, name in enumerate(names, 1)]


ANSWERS = [(f"q{i}", text) for i, text in enumerate(SAID, 1)]


def expected() -> dict[str, float]:
    pairs = [(said, captions) for said, (_, captions) in zip(SAID, REFERENCES, strict=True)]
    return {name: 100 * value for name, value in caption_metrics(pairs).items()}


@pytest.mark.usefixtures("no_java")
@pytest.mark.parametrize("task", ["vizwiz", "flickr30k", "screen2words"])
@pytest.mark.parametrize("protocol", ["official", "fixed"])
def test_without_java_it_is_said(scoring: Any, task: str, protocol: str) -> None:
    score = scoring.score(task, questions(), ANSWERS, protocol, scoring.write("refs.json", coco()))
    assert score.missing == ("METEOR",)
    assert score.parts == pytest.approx(expected(), abs=1e-10)
    assert score.value == pytest.approx(np.mean(list(expected().values())), abs=1e-10)
    assert java.missing_software() == "java is not installed"
    with pytest.raises(MergeError, match="java is not installed"):
        java.tokenize(["a"])


@pytest.mark.usefixtures("fake_java")
def test_without_the_extra_it_is_said(scoring: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "find_spec", lambda name: None)
    score = scoring.score(
        "vizwiz", questions(), ANSWERS, "fixed", scoring.write("refs.json", coco())
    )
    assert score.missing == ("METEOR",)
    assert "robustmerge-bench[captions]" in java.missing_software()


@pytest.mark.usefixtures("fake_java")
@pytest.mark.parametrize("protocol", ["official", "fixed"])
def test_with_java_seven_metrics_count(scoring: Any, protocol: str) -> None:
    score = scoring.score(
        "vizwiz", questions(), ANSWERS, protocol, scoring.write("refs.json", coco())
    )
    assert score.missing == ()
    assert list(score.parts) == [*list(expected())[:4], "METEOR", *list(expected())[4:]]
    assert score.value == pytest.approx(np.mean(list(score.parts.values())), abs=1e-10)
    assert {k: v for k, v in score.parts.items() if k != "METEOR"} == pytest.approx(expected())
    # 4 of 4 and 5 words, 3 of 4 and 5 (the stand-in takes the first reference), 3 of 5 and 5
    found = 4 + 4 + 3
    precision, recall = found / 13, found / 15
    f = precision * recall / (0.85 * precision + 0.15 * recall)
    assert score.parts["METEOR"] == pytest.approx(100 * f * (1 - 0.6))  # every match a chunk


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import sys; sys.exit('out of memory')", "java ended with code 1: out of memory"),
        ("print('nonsense')", "METEOR answered nonsense"),
        ("print('1 2 3')", "METEOR gave 1 lines of counts for 3 captions"),
        ("print('0 ' * 23)", "METEOR gave 1 lines of counts for 3 captions"),
        ("for _ in '123': print('0 ' * 22)", "METEOR gave 3 lines of counts for 3 captions"),
    ],
)
def test_java_that_fails_is_an_error(
    scoring: Any, fake_java: Path, script: str, message: str
) -> None:
    fake_java.write_text(f"#!{sys.executable}\n{script}\n")
    with pytest.raises(MergeError, match=message):
        scoring.score("vizwiz", questions(), ANSWERS, "fixed", scoring.write("refs.json", coco()))


@pytest.mark.usefixtures("fake_java")
def test_punctuation_is_dropped_after_the_tokenizer() -> None:
    assert java.tokenize(["A dog , -LRB- red .", "", "\n.."]) == [
        ("a", "dog", "-lrb-", "red"),
        (),
        ("..",),
    ]


def test_a_tokenizer_that_loses_lines(fake_java: Path) -> None:
    fake_java.write_text(f"#!{sys.executable}\nprint('a')\n")
    with pytest.raises(MergeError, match="the tokenizer gave 1 lines for 2 captions"):
        java.tokenize(["a", "b"])


@pytest.mark.usefixtures("no_java")
def test_official_takes_line_k_for_image_k(scoring: Any) -> None:
    references = scoring.write("refs.json", coco())
    turned = [ANSWERS[1], ANSWERS[0], ANSWERS[2]]
    right = scoring.score("vizwiz", questions(), ANSWERS, "official", references).value
    wrong = scoring.score("vizwiz", questions(), turned, "official", references).value
    assert wrong < right - 20
    assert scoring.score("vizwiz", questions(), turned, "fixed", references).value == right
    other = [("?", text) for text in SAID]
    assert scoring.score("vizwiz", questions(), other, "official", references).value == right


@pytest.mark.usefixtures("no_java")
@pytest.mark.parametrize("n", [2, 4])
def test_official_needs_all_captions(scoring: Any, n: int) -> None:
    answers = [*ANSWERS, ("q4", "x")][:n]
    with pytest.raises(MergeError, match=f"{n} captions for 3 images") as caught:
        scoring.score(
            "vizwiz", questions(), answers, "official", scoring.write("refs.json", coco())
        )
    assert f"predictions.jsonl, line {n}" in caught.value.where


@pytest.mark.usefixtures("no_java")
def test_official_needs_numbers_from_one(scoring: Any) -> None:
    references = scoring.write("refs.json", coco((0, 1, 2)))
    with pytest.raises(MergeError, match="not numbered 1 to 3: for 1 there is 0"):
        scoring.score("vizwiz", questions(), ANSWERS, "official", references)
    references = scoring.write("refs.json", coco((2, 3, 1)))
    score = scoring.score("vizwiz", questions(), [ANSWERS[2], *ANSWERS[:2]], "official", references)
    assert score.parts == pytest.approx(expected(), abs=1e-10)


@pytest.mark.usefixtures("no_java")
def test_fixed_goes_by_file_name(scoring: Any) -> None:
    for content in coco((7, 5, 6)), coco((3, 1, 2)):
        references = scoring.write("refs.json", content)
        score = scoring.score("vizwiz", questions(), ANSWERS, "fixed", references)
        assert score.parts == pytest.approx(expected(), abs=1e-10)
    prefixed = questions(("a/test_1.jpg", "a/test_2.jpg", "a/test_3.jpg"))
    assert scoring.score("vizwiz", prefixed, ANSWERS, "fixed", references).value == score.value


@pytest.mark.usefixtures("no_java")
def test_fixed_goes_by_place_where_there_are_no_names(scoring: Any) -> None:
    references = scoring.write("refs.json", coco(named=False))
    score = scoring.score("vizwiz", questions(), ANSWERS, "fixed", references)
    assert score.parts == pytest.approx(expected(), abs=1e-10)
    references = scoring.write("refs.json", coco((4, 5, 6), named=False))
    with pytest.raises(MergeError, match="not numbered 1 to 3"):
        scoring.score("vizwiz", questions(), ANSWERS, "fixed", references)
    references = scoring.write("refs.json", coco((1, 2), named=False))
    with pytest.raises(MergeError, match="2 images for 3 questions"):
        scoring.score("vizwiz", questions(), ANSWERS, "fixed", references)


@pytest.mark.usefixtures("no_java")
def test_references_of_other_images(scoring: Any) -> None:
    references = scoring.write("refs.json", coco())
    with pytest.raises(MergeError, match=r"no image './9.jpg'") as caught:
        scoring.score(
            "vizwiz", questions(("1.jpg", "./9.jpg", "3.jpg")), ANSWERS, "fixed", references
        )
    assert "questions.json, record 2" in caught.value.where


@pytest.mark.usefixtures("no_java")
def test_a_missing_caption_is_an_empty_one(scoring: Any) -> None:
    references = scoring.write("refs.json", coco())
    with pytest.raises(MergeError, match="1 of 3 questions have no answer: 'q3'"):
        scoring.score("vizwiz", questions(), ANSWERS[:2], "fixed", references)
    less = scoring.score("vizwiz", questions(), ANSWERS[:2], "fixed", references, missing="wrong")
    empty = scoring.score("vizwiz", questions(), [*ANSWERS[:2], ("q3", "")], "fixed", references)
    assert less.value == empty.value
    assert less.empty == empty.empty == pytest.approx(1 / 3)


@pytest.mark.usefixtures("no_java")
@pytest.mark.parametrize("protocol", ["official", "fixed"])
@pytest.mark.parametrize(
    "content",
    [
        [], {}, {"images": [{"id": 1}]}, {"images": [{}], "annotations": []},
        {"images": [{"id": 1}], "annotations": [{"image_id": 1}]},
    ],
)  # fmt: skip
def test_what_is_no_reference_file(scoring: Any, content: Any, protocol: str) -> None:
    with pytest.raises(MergeError, match="no references for captions") as caught:
        scoring.score("vizwiz", questions(), ANSWERS, protocol, scoring.write("refs.json", content))
    assert "refs.json" in caught.value.where


@pytest.mark.usefixtures("no_java")
def test_an_image_without_a_caption(scoring: Any) -> None:
    content = coco()
    content["annotations"][2]["caption"] = content["annotations"][3]["caption"] = "."
    with pytest.raises(MergeError, match="image 2 has no caption"):
        scoring.score("vizwiz", questions(), ANSWERS, "fixed", scoring.write("refs.json", content))


@pytest.mark.usefixtures("no_java")
@pytest.mark.parametrize("protocol", ["official", "fixed"])
def test_captions_of_images_that_are_not_listed_do_not_count(scoring: Any, protocol: str) -> None:
    content = coco()
    content["annotations"].append({"image_id": 9, "caption": "a red dog runs"})
    score = scoring.score(
        "vizwiz", questions(), ANSWERS, protocol, scoring.write("refs.json", content)
    )
    assert score.parts == pytest.approx(expected(), abs=1e-10)


@pytest.mark.usefixtures("no_java")
def test_references_beside_the_questions(scoring: Any) -> None:
    with pytest.raises(MergeError, match="not in its questions") as caught:
        scoring.score("vizwiz", questions(), ANSWERS, "fixed")
    assert "val_coco_type.json" in caught.value.where
    scoring.write("val_coco_type.json", coco())
    assert scoring.score("vizwiz", questions(), ANSWERS, "fixed").n == 3


@pytest.mark.usefixtures("fake_java")
def test_drawn_sets_are_scored_as_sets(scoring: Any) -> None:
    """The figure of drawn rows is the metrics of the drawn captions, but for CIDEr's weights."""
    score: Score = scoring.score(
        "vizwiz", questions(), ANSWERS, "fixed", scoring.write("refs.json", coco())
    )
    times = np.array([[2, 0, 1]])
    pairs = [(SAID[i], REFERENCES[i][1]) for i in (0, 0, 2)]
    exact = {k: 100 * v for k, v in caption_metrics(pairs).items() if k != "CIDEr"}
    found = 4 + 4 + 3
    precision, recall = found / 13, found / 15
    f = precision * recall / (0.85 * precision + 0.15 * recall)
    cider = 100 * float(times[0] @ score.rows[:, 11]) / 3
    mean = (sum(exact.values()) + 40 * f + cider) / 7
    assert score.resampled(times) == pytest.approx([mean], abs=1e-10)
