"""A trial of the first questions: what is written for it is scored as the whole would be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from robustmerge_bench.paper.data.read import read_questions
from robustmerge_bench.paper.scoring import score
from robustmerge_bench.paper.study.limited import QuestionFiles, limit_questions
from robustmerge_bench.paper.tasks import TASKS


def write_json_file(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def answers(path: Path, texts: dict[str, str]) -> Path:
    lines = [json.dumps({"question_id": k, "text": v, "prompt": ""}) for k, v in texts.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_words(tmp_path: Path) -> None:
    requested = [{"question_id": str(i), "text": "?", "answer": "yes"} for i in range(9)]
    questions = write_json_file(tmp_path / "val.json", requested)
    cut = limit_questions(TASKS["vqav2"], QuestionFiles(questions), 2, tmp_path / "cut")
    assert [q.id for q in read_questions(cut.questions)] == ["0", "1"]
    printed = answers(tmp_path / "a.jsonl", {"0": "yes", "1": "no"})
    for protocol in ("official", "fixed"):
        result = score(TASKS["vqav2"], cut.questions, printed, protocol=protocol)  # type: ignore[arg-type]
        assert (result.n, result.value) == (2, 50)


@pytest.mark.parametrize("named", [True, False])
def test_captions_keep_the_images_of_their_questions(
    tmp_path: Path, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustmerge_bench.metrics.java.missing_software", lambda: "java")
    requested = [{"question_id": str(i), "text": "?", "image": f"x/{i}.jpg"} for i in range(5)]
    questions = write_json_file(tmp_path / "val.json", requested)
    # By name the pictures stand in another order than the questions; without names, in the same.
    ids = [3, 1, 2, 5, 4] if named else [1, 2, 3, 4, 5]
    images = [
        {"id": k, **({"file_name": f"test_{i}.jpg"} if named else {})} for i, k in enumerate(ids)
    ]
    printed = [
        {"id": k, "image_id": k, "caption": f"picture number {i} of a dog"}
        for i, k in enumerate(ids)
    ]
    references = write_json_file(tmp_path / "coco.json", {"images": images, "annotations": printed})
    cut = limit_questions(
        TASKS["vizwiz"], QuestionFiles(questions, references), 2, tmp_path / "cut"
    )
    right = answers(
        tmp_path / "a.jsonl", {str(i): f"picture number {i} of a dog" for i in range(2)}
    )
    assert cut.references is not None
    for protocol in ("official", "fixed"):
        result = score(
            TASKS["vizwiz"],
            cut.questions,
            right,
            protocol=protocol,  # type: ignore[arg-type]
            references=cut.references,
        )
        assert result.n == 2
        assert result.parts["Bleu_4"] == pytest.approx(100)


def test_problems(tmp_path: Path) -> None:
    task = TASKS["scienceqa"]
    problems = {str(i): {"choices": ["a", "b"], "answer": 1, "split": "test"} for i in range(6)}
    references = write_json_file(tmp_path / "problems.json", problems)
    write_json_file(tmp_path / "pid_splits.json", {"test": list(problems)})
    requested = [{"question_id": str(i), "text": "?"} for i in range(6)]
    files = QuestionFiles(write_json_file(tmp_path / "test.json", requested), references)
    cut = limit_questions(task, files, 3, tmp_path / "cut")
    printed = answers(tmp_path / "a.jsonl", {"0": "B", "1": "B", "2": "A"})
    for protocol in ("official", "fixed"):
        result = score(task, cut.questions, printed, protocol=protocol, references=cut.references)  # type: ignore[arg-type]
        assert (result.n, result.value) == (3, pytest.approx(200 / 3))


def test_labels_of_pope(tmp_path: Path) -> None:
    task = TASKS["pope"]
    kinds = ["random", "popular"] * 3
    requested = [
        {"question_id": i, "text": f"Is there a {i}?", "category": kind}
        for i, kind in enumerate(kinds)
    ]
    for kind in ("random", "popular"):
        own = [q for q in requested if q["category"] == kind]
        lines = [json.dumps({"text": q["text"], "label": "yes"}) for q in own]
        path = tmp_path / "coco" / f"coco_pope_{kind}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines))
    files = QuestionFiles(write_json_file(tmp_path / "pope.json", requested), tmp_path / "coco")
    cut = limit_questions(task, files, 3, tmp_path / "cut")
    printed = tmp_path / "a.jsonl"
    printed.write_text("\n".join(json.dumps({"question_id": i, "text": "Yes"}) for i in range(3)))
    result = score(task, cut.questions, printed, protocol="fixed", references=cut.references)
    assert (result.n, result.value) == (3, 100)


def test_tables_and_pictures_by_class(tmp_path: Path) -> None:
    table = tmp_path / "mmbench.tsv"
    rows = [f"{i}\tWhat?\ta\tb\tA" for i in range(5)]
    table.write_text("\n".join(["index\tquestion\tA\tB\tanswer", *rows]) + "\n")
    cut = limit_questions(TASKS["mmbench"], QuestionFiles(table), 2, tmp_path / "cut")
    assert cut.questions.read_text().count("\n") == 3
    for name in ("red", "blue"):
        for i in range(3):
            path = tmp_path / "Cars/test" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    cut = limit_questions(
        TASKS["cars"], QuestionFiles(tmp_path / "Cars/test"), 2, tmp_path / "cars"
    )
    result = read_questions(cut.questions)
    assert [(q.id, q.content["answer"]) for q in result] == [
        ("blue/0.png", "blue"),
        ("red/0.png", "red"),
    ]
