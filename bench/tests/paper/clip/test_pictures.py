"""Folders of images by class as questions, and what classes are called."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from robustmerge.errors import MergeError
from robustmerge_bench.paper.answering.clip.templates import TEMPLATES, sentences
from robustmerge_bench.paper.data.image_folders import read_image_folder
from robustmerge_bench.paper.data.read import load_questions
from robustmerge_bench.paper.study.limited import QuestionFiles, limit_questions
from robustmerge_bench.paper.tasks import TASKS, VISION, select_tasks
from robustmerge_bench.paper.tasks.labels import label


def touched(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def test_the_tables_columns() -> None:
    columns = ["Cars", "MNIST", "SUN397", "GTSRB", "RESISC45", "DTD", "EuroSAT", "SVHN"]
    assert [task.column for task in select_tasks("vision")] == columns
    assert {TASKS[task.name] for task in VISION} == set(VISION)
    assert {task.name for task in VISION} == set(TEMPLATES)
    assert {task.kind for task in VISION} == {"label"}


def test_every_image_is_a_question_and_classes_take_turns(tmp_path: Path) -> None:
    test = touched(
        tmp_path / "Cars" / "test",
        "Audi_TT/2.JPG",
        "Audi_TT/10.jpeg",
        "Audi_TT/notes.txt",
        "BMW/deeper/1.ppm",
        ".thumbs/1.png",
        "Audi_TT/.hidden/1.png",
    )
    result = read_image_folder(test, "cars")
    assert [(q.id, q.content["answer"]) for q in result] == [
        ("Audi_TT/10.jpeg", "Audi TT"),
        ("BMW/deeper/1.ppm", "BMW deeper"),
        ("Audi_TT/2.JPG", "Audi TT"),
    ]
    assert [q.content["question_id"] for q in result] == [q.id for q in result]
    assert {q.text for q in result} == {""}
    assert result[1].where == str(test / "BMW/deeper/1.ppm")


def test_a_image_is_found_wherever_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched(tmp_path / "here", "test/a/1.png")
    monkeypatch.chdir(tmp_path)
    (question,) = read_image_folder(Path("here/test"), "cars")
    monkeypatch.chdir(tmp_path / "here")
    assert question.image is not None
    assert Path(question.image).is_file()


def test_the_first_images_as_a_question_file(tmp_path: Path) -> None:
    test = touched(tmp_path / "Cars/test", *(f"{name}/{n}.png" for name in "abc" for n in range(4)))
    task, wanted = TASKS["cars"], read_image_folder(test, "cars")[:5]
    some = limit_questions(task, QuestionFiles(test), 5, tmp_path / "some").questions
    result = load_questions(some, task)
    assert [(q.id, q.image, q.content) for q in result] == [
        (q.id, q.image, q.content) for q in wanted
    ]
    assert {q.content["answer"] for q in result} == {"a", "b", "c"}


def as_json(place: Path, names: object) -> None:
    (place / "classes.json").write_text(json.dumps(names))


def as_text(place: Path, names: dict[str, str]) -> None:
    (place / "classes.txt").write_text("".join(f"{a}\t{b}\n" for a, b in names.items()))


@pytest.mark.parametrize("write", [as_json, as_text])
def test_names_lie_beside(tmp_path: Path, write: Callable[[Path, dict[str, str]], None]) -> None:
    test = touched(tmp_path / "test", "n01/1.png", "n02/1.png")
    write(tmp_path, {"n01": "tench", "n02": "great white shark", "n03": "not in this split"})
    assert [q.content["answer"] for q in read_image_folder(test, "gtsrb")] == [
        "tench",
        "great white shark",
    ]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"n01": "tench"}, "no name for the class 'n02'"),
        ({"n01": "tench", "n02": "tench"}, "two classes are called 'tench': n01 and n02"),
        ({"n01": "tench", "n02": 3}, "'n02' is called 3"),
        ({"n01": "tench", "n02": " "}, "'n02' is called ' '"),
        (["tench", "shark"], "is not an object"),
    ],
)
def test_wrong_names_are_refused(tmp_path: Path, names: object, words: str) -> None:
    test = touched(tmp_path / "test", "n01/1.png", "n02/1.png")
    as_json(tmp_path, names)
    with pytest.raises(MergeError) as caught:
        read_image_folder(test, "cars")
    assert words in caught.value.problem
    assert str(tmp_path) in caught.value.where


def test_files_of_names_that_cannot_be_read(tmp_path: Path) -> None:
    test = touched(tmp_path / "test", "a/1.png")
    (tmp_path / "classes.txt").write_text("a\tb\tc\n")
    with pytest.raises(MergeError, match="not a folder, a tab and a name: a"):
        read_image_folder(test, "cars")
    (tmp_path / "classes.json").write_text('{"a": ')
    with pytest.raises(MergeError, match="not JSON"):
        read_image_folder(test, "cars")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), "cannot read the file"),
        (("a/notes.txt",), "a class has no images"),
        (("a/1.png", "b/notes.txt"), "a class has no images"),
        (("a/1.png", "2.png"), "1 images belong to no class, such as 2.png"),
        (("2.png",), "1 images belong to no class"),
        (("notes.txt",), "there are no images"),
        (("polka_dotted/1.png", "polka dotted/1.png"), "two classes are called 'polka dotted'"),
    ],
)
def test_wrong_folders_are_refused(tmp_path: Path, files: tuple[str, ...], words: str) -> None:
    test = touched(tmp_path / "test", *files)
    with pytest.raises(MergeError) as caught:
        read_image_folder(test, "dtd")
    assert words in caught.value.problem
    assert str(tmp_path) in caught.value.where


@pytest.mark.parametrize(
    ("task", "folder", "name"),
    [
        ("gtsrb", "0", "red and white circle 20 kph speed limit"),
        ("gtsrb", "00014", "stop"),
        (
            "gtsrb",
            "00042",
            "white circle with gray strike bar indicating no passing for trucks has ended",
        ),
        ("gtsrb", "00043", "00043"),
        ("gtsrb", "stop", "stop"),
        ("mnist", "7", "7"),
        ("mnist", "7 - seven", "7"),
        ("svhn", "14", "14"),
        ("eurosat", "HerbaceousVegetation", "brushland or shrubland"),
        ("eurosat", "annual_crop", "annual crop land"),
        ("eurosat", "lake or sea", "lake or sea"),
        ("sun397", "a/abbey", "abbey"),
        ("sun397", "b_bakery_shop", "bakery shop"),
        ("sun397", "t/theater/indoor_procenium", "theater indoor procenium"),
        ("cars", "a_car", "a car"),
        ("dtd", "polka-dotted", "polka-dotted"),
        ("resisc45", "baseball_diamond", "baseball diamond"),
    ],
)
def test_what_classes_are_called(task: str, folder: str, name: str) -> None:
    assert label(task, folder) == name


def test_sentences_of_clips_authors() -> None:
    assert sentences("gtsrb", "stop") == [
        'a zoomed in photo of a "stop" traffic sign.',
        'a centered photo of a "stop" traffic sign.',
        'a close up photo of a "stop" traffic sign.',
    ]
    assert sentences("cars", "Ram {C/V}")[3:5] == [
        "i love my Ram {C/V}!",
        "a photo of my dirty Ram {C/V}.",
    ]
    assert sentences("eurosat", "forest")[1] == "a centered satellite photo of a forest."
    assert sentences("dtd", "woven")[5] == "a photo of the woven pattern."
    assert sentences("resisc45", "lake")[8] == "satellite photo of a lake."
    assert sentences("something else", "cat") == ["a photo of a cat.", "a photo of the cat."]
    counts = {task: len(of) for task, of in TEMPLATES.items()}
    assert counts == {
        "cars": 8,
        "mnist": 1,
        "sun397": 2,
        "gtsrb": 3,
        "resisc45": 18,
        "dtd": 8,
        "eurosat": 3,
        "svhn": 1,
    }
