"""Files of a task in the layouts that are about, made and found again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robustmerge import MergeError
from robustmerge_bench.paper.data.find import find, find_image
from robustmerge_bench.paper.data.questions import Question
from robustmerge_bench.paper.tasks import TASKS

LAYOUTS = [
    "",
    "instructions",
    "Seen_data",
    "instructions/Seen_data",
    "data/Unseen_data",
    "datasets",
]


def write_empty(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[]")


def question_with(image: str | None) -> Question:
    return Question("val.json, record 4", "17", "What?", image, {})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("folder", TASKS["flickr30k"].folders)
def test_every_layout_and_name(tmp_path: Path, layout: str, folder: str) -> None:
    place = tmp_path / layout / folder
    names = ("val_brief.json", "val_coco_type.json", "train.json")
    write_empty(*(place / name for name in names))
    write_empty(tmp_path / layout / "IconQA" / "val.json")
    found = find(tmp_path, TASKS["flickr30k"])
    assert (found.questions, found.references, found.training) == tuple(place / n for n in names)


@pytest.mark.parametrize("task", [t for t in TASKS.values() if t.group != "vision"], ids=str)
def test_every_task_has_names_to_be_found_by(tmp_path: Path, task: object) -> None:
    known = TASKS[task.name]  # type: ignore[attr-defined]
    write_empty(tmp_path / known.folders[-1] / known.questions[-1])
    found = find(tmp_path, known)
    assert found.questions.is_file()
    assert found.references is None
    assert found.training is None


def test_files_apart_from_the_questions(tmp_path: Path) -> None:
    """ScienceQA's problems lie with the pictures in the released scripts."""
    write_empty(
        tmp_path / "instructions/ScienceQA/test.json", tmp_path / "datasets/ScienceQA/problems.json"
    )
    found = find(tmp_path, TASKS["scienceqa"])
    assert found.references == tmp_path / "datasets/ScienceQA/problems.json"
    write_empty(tmp_path / "instructions/ScienceQA/problems.json")
    assert find(tmp_path, TASKS["scienceqa"]).references == found.questions.parent / "problems.json"


def test_what_was_looked_for_is_said(tmp_path: Path) -> None:
    write_empty(tmp_path / "instructions/VizWiz/test.json")
    with pytest.raises(MergeError, match=r"no val\.json of VizWiz captions") as caught:
        find(tmp_path, TASKS["vizwiz"])
    said = str(caught.value)
    for part in (
        str(tmp_path),
        "VizWiz-caption/val.json",
        "VizWiz/val.json",
        "Unseen_data",
        "--data",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("place", "image"),
    [
        ("datasets/ImageNet/val/a.JPEG", "ImageNet/val/a.JPEG"),
        ("ImageNet/val/a.JPEG", "./ImageNet/val/a.JPEG"),
        ("images/ImageNet/val/a.JPEG", "ImageNet/val/a.JPEG"),
        ("Unseen_data/ImageNet/val/a.JPEG", "ImageNet/val/a.JPEG"),
        ("instructions/ImageNet/val/a.JPEG", "val/a.JPEG"),
        ("instructions/ImageNet/images/a.JPEG", "a.JPEG"),
        ("datasets/ImageNet/val/a.JPEG", "val/a.JPEG"),
        ("datasets/ImageNet/val/test_a.JPEG", "ImageNet/val/a.JPEG"),
        ("datasets/ImageNet/val/a.JPEG", "ImageNet/val/test_a.JPEG"),
    ],
)
def test_pictures(tmp_path: Path, place: str, image: str) -> None:
    write_empty(tmp_path / "instructions/ImageNet/test.json", tmp_path / place)
    (tmp_path / "Seen_data").mkdir()
    found = find_image(find(tmp_path, TASKS["imagenet"]), question_with(image))
    assert found is not None
    assert found.samefile(tmp_path / place)


def test_the_name_as_it_is_written_comes_first(tmp_path: Path) -> None:
    write_empty(
        tmp_path / "ImageNet/test.json",
        tmp_path / "datasets/test_a.png",
        tmp_path / "ImageNet/a.png",
    )
    found = find(tmp_path, TASKS["imagenet"])
    assert find_image(found, question_with("a.png")) == tmp_path / "ImageNet/a.png"


def test_an_absolute_path_and_none_at_all(tmp_path: Path) -> None:
    write_empty(tmp_path / "root/ImageNet/test.json", tmp_path / "elsewhere.png")
    found = find(tmp_path / "root", TASKS["imagenet"])
    assert (
        find_image(found, question_with(str(tmp_path / "elsewhere.png")))
        == tmp_path / "elsewhere.png"
    )
    assert find_image(found, question_with(None)) is None


@pytest.mark.parametrize("image", ["ImageNet/val/b.JPEG", "", ".", "x" * 5000, "a\0b"])
def test_a_missing_picture_is_named_with_its_question(tmp_path: Path, image: str) -> None:
    write_empty(
        tmp_path / "instructions/ImageNet/test.json", tmp_path / "datasets/ImageNet/val/a.JPEG"
    )
    with pytest.raises(MergeError) as caught:
        find_image(find(tmp_path, TASKS["imagenet"]), question_with(image))
    if len(image) > 2 and "\0" not in image and len(image) < 1000:
        assert "no image ImageNet/val/b.JPEG" in str(caught.value)
        assert str(tmp_path / "datasets") in str(caught.value)
        assert "record 4, question 17" in str(caught.value)


def test_names_of_folders_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "ImageNet/test.json").mkdir(parents=True)
    with pytest.raises(MergeError, match=r"no test\.json"):
        find(tmp_path, TASKS["imagenet"])
    (tmp_path / "VQAv2").mkdir()
    (tmp_path / "VQAv2/val.json").write_text(json.dumps([]))
    assert find(tmp_path, TASKS["vqav2"]).questions == tmp_path / "VQAv2/val.json"
