"""Conversations are read as LLaVA means them, and bad ones are named before any model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench_factories.conversations import entry, source_of, write
from bench_factories.tiny_models import draw
from robustmerge.errors import MergeError
from robustmerge_bench.paper.training.conversations import TrainingSet, Turn
from robustmerge_bench.paper.training.sources import of_file, of_tasks, search


def read(folder: Path, *records: Any) -> TrainingSet:
    return TrainingSet.read([source_of(write(folder / "train.json", records))])


def test_a_conversation_of_several_turns(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 0)
    result = read(tmp_path, entry("Q1", "A1", "a.png", more=("Q2", "A2")))
    (one,) = result.conversations
    assert one.turns == (Turn("Q1", "A1"), Turn("Q2", "A2"))
    assert one.image == tmp_path / "a.png"
    assert one.where.endswith("train.json, record 1")
    assert result.texts == 0


@pytest.mark.parametrize(
    ("message", "question"),
    [("<image>\nQ", "Q"), ("Q\n<image>", "Q"), ("a <image> b", "a  b"), (" <image>  Q ", "Q")],
)
def test_the_mark_may_be_anywhere_in_the_first_question(
    tmp_path: Path, message: str, question: str
) -> None:
    draw(tmp_path / "a.png", 0)
    record = entry("", "A", "a.png")
    record["conversations"][0]["value"] = message
    assert read(tmp_path, record).conversations[0].turns == (Turn(question, "A"),)


def test_text_alone_is_left_as_it_is(tmp_path: Path) -> None:
    result = read(
        tmp_path,
        entry(" Q ", " A\n"),
        entry("Q", "A") | {"image": None},
    )
    assert result.conversations[0].turns == (Turn(" Q ", " A\n"),)
    assert [one.image for one in result.conversations] == [None, None]
    assert result.texts == 2


def test_ids_may_repeat_or_lack(tmp_path: Path) -> None:
    nameless = entry("Q", "A")
    del nameless["id"]
    assert read(tmp_path, entry("Q", "A"), entry("Q", "A"), nameless).counts == (3,)


def test_lines_are_read_as_a_list_is(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(json.dumps(entry(f"Q{n}", "A")) for n in range(3)))
    result = TrainingSet.read([source_of(path)])
    assert [one.where.rpartition(", ")[2] for one in result.conversations] == [
        "line 1",
        "line 2",
        "line 3",
    ]


def record_with(*message: Any) -> dict[str, Any]:
    return {"conversations": list(message)}


HUMAN, GPT = {"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"id": 1}, "no conversations"),
        ({"conversations": "Q"}, "conversations is 'Q'"),
        (record_with(), r"conversations is \[\]"),
        (record_with(GPT, HUMAN), "turn 1 is .* not one from 'human'"),
        (record_with(HUMAN, HUMAN), "turn 2 is .* not one from 'gpt'"),
        (record_with(HUMAN, GPT, HUMAN), "turn 3, a question, has no answer"),
        (record_with(HUMAN, "A"), "turn 2 is 'A'"),
        (record_with(HUMAN, {"from": "gpt", "value": 3}), "turn 2 is .* with a text as value"),
        (record_with(HUMAN, {"from": "gpt"}), "turn 2 is "),
        (record_with(HUMAN, {"from": "gpt", "value": " \n"}), "turn 2, an answer, is empty"),
        (
            record_with({"from": "human", "value": "<image>Q"}, GPT),
            "no image, but <image> in turn 1",
        ),
        (record_with(HUMAN, GPT) | {"image": "a.png"}, "one image, but <image> nowhere"),
        (
            record_with({"from": "human", "value": "<image><image>"}, GPT) | {"image": "a.png"},
            "one image, but <image> in turn 1, 1",
        ),
        (
            record_with(HUMAN, GPT, {"from": "human", "value": "<image>"}, GPT)
            | {"image": "a.png"},
            "one image, but <image> in turn 3",
        ),
        (record_with(HUMAN, GPT) | {"image": ["a.png"]}, "image is .* not the path"),
        (record_with(HUMAN, GPT) | {"image": ""}, "image is '', not the path"),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, record: dict[str, Any], problem: str) -> None:
    draw(tmp_path / "a.png", 0)
    with pytest.raises(MergeError, match=problem) as caught:
        read(tmp_path, entry("Q", "A"), record)
    assert caught.value.where.endswith("train.json, record 2")
    assert caught.value.hint


@pytest.mark.parametrize("name", ["missing.png", "folder", "x\0y", "n" * 300])
def test_missing_images_are_counted_and_the_first_is_named(tmp_path: Path, name: str) -> None:
    draw(tmp_path / "a.png", 0)
    (tmp_path / "folder").mkdir()
    records = [entry("Q", "A", image) for image in ("a.png", name, name)]
    with pytest.raises(MergeError, match="2 of 3 records name an image that does not") as caught:
        read(tmp_path, *records)
    assert caught.value.where.endswith("record 2")
    assert "--images" in caught.value.hint


def test_the_facts_tell_other_data(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 0)
    one = read(tmp_path, entry("Q", "A", "a.png"), entry("Q", "A")).files[0]
    assert (one["records"], one["images"], one["task"]) == (2, 1, "toy")
    assert read(tmp_path, entry("Q", "A", "a.png"), entry("Q", "B")).files[0] | {
        "sha256": one["sha256"]
    } == dict(one)
    draw(tmp_path / "a.png", 0, (200, 100))
    other = read(tmp_path, entry("Q", "A", "a.png"), entry("Q", "A")).files[0]
    assert {name for name in one if one[name] != other[name]} == {"images_sha256"}


def test_tasks_are_found_under_a_root(tmp_path: Path) -> None:
    draw(tmp_path / "datasets" / "x" / "a.png", 0)
    draw(tmp_path / "Seen_data" / "Grounding" / "b.png", 0)
    write(tmp_path / "Seen_data/ScienceQA/train.json", [entry("Q", "A", "x/a.png")])
    write(tmp_path / "Seen_data/Grounding/train.json", [entry("Q", "A", "./b.png")] * 2)
    name, sources = of_tasks(tmp_path, "scienceqa,rec")
    assert name == "scienceqa+rec"
    result = TrainingSet.read(sources)
    assert result.counts == (1, 2)
    assert [file["task"] for file in result.files] == ["scienceqa", "rec"]
    assert of_tasks(tmp_path, "rec")[0] == "rec"


def test_joint_is_all_seen_tasks(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match=r"no train\.json of ScienceQA"):
        of_tasks(tmp_path, "joint")
    folders = ["ScienceQA", "ImageNet", "VQAv2", "REC", "OCRVQA", "VizWiz", "Flickr30k", "IconQA"]
    for folder in folders:
        write(tmp_path / folder / "train.json", [entry("Q", "A")])
    name, sources = of_tasks(tmp_path, "joint")
    assert (name, len(sources)) == ("joint", 8)


def test_a_file_is_called_after_itself_or_as_told(tmp_path: Path) -> None:
    path = write(tmp_path / "charts.json", [entry("Q", "A", "a.png")])
    assert of_file(path, None, None)[0] == "charts"
    name, (source,) = of_file(path, tmp_path / "pictures", "mine")
    assert name == source.task == "mine"
    assert source.find("a.png") == tmp_path / "pictures" / "a.png"


def test_the_first_folder_that_has_a_image_counts(tmp_path: Path) -> None:
    second = draw(tmp_path / "two" / "a.png", 0)
    find = search([tmp_path / "one", tmp_path / "two"])
    assert find("a.png") == second
    assert find("b.png") == tmp_path / "one" / "b.png"
