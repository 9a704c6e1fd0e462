"""CLIP in the resumable run: classes as answers, scored like any others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustmerge import merge
from robustmerge.cli.app import run as command
from robustmerge.errors import MergeError
from robustmerge_bench.paper.answering.clip.model import ClipModel
from robustmerge_bench.paper.answering.clip.templates import sentences
from robustmerge_bench.paper.answering.options import AnsweringOptions
from robustmerge_bench.paper.answering.run import answer
from robustmerge_bench.paper.scoring import score
from robustmerge_bench.paper.tasks import TASKS, select_tasks

QUICK = AnsweringOptions(batch=3, workers=2)


def answered(
    base: Path,
    adapter: Path | None,
    tasks: str,
    root: Path,
    out: Path,
    options: AnsweringOptions = QUICK,
) -> dict[str, list[dict[str, object]]]:
    files = answer(
        str(base), adapter and str(adapter), select_tasks(tasks), root, out, options=options
    )
    return {f.stem: [json.loads(line) for line in f.read_text().splitlines()] for f in files}


def percent(task: str, root: Path, out: Path) -> float:
    folder = root / TASKS[task].folders[0] / "test"
    return score(TASKS[task], folder, out / f"{task}.jsonl", protocol="fixed").value


def test_answers_are_the_likeliest_classes(
    base: Path, root: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    result = answered(base, experts["cars"], "cars,dtd", root, tmp_path / "out")
    clip = ClipModel.load(str(base))
    clip.load_adapter(experts["cars"])
    for task, folder in (("cars", root / "Cars/test"), ("dtd", root / "DTD/test")):
        names = sorted(place.name for place in folder.iterdir())
        head = clip.head([sentences(task, name) for name in names])
        paths = sorted(folder.glob("*/*"), key=lambda path: (path.name, path.parent.name))
        assert [line["question_id"] for line in result[task]] == [
            path.relative_to(folder).as_posix() for path in paths
        ]
        for line, path in zip(result[task], paths, strict=True):
            cosines = head @ clip.features(clip.pixels([Image.open(path)]))[0]
            assert line["text"] == names[int(cosines.argmax())]
    assert {line["text"] for line in result["cars"]} == {"blue", "green", "red"}


def test_experts_and_their_merge_are_scored(
    base: Path, root: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    merge(list(experts.values()), tmp_path / "merged", method="robustmerge")
    models = {"zero-shot": None, **experts, "merged": tmp_path / "merged"}
    scores: dict[str, dict[str, float]] = {}
    for name, adapter in models.items():
        answered(base, adapter, "cars,dtd", root, tmp_path / name)
        scores[name] = {task: percent(task, root, tmp_path / name) for task in ("cars", "dtd")}
    for task in ("cars", "dtd"):
        assert scores[task][task] > 80
        assert scores["zero-shot"][task] < 60
        assert scores["merged"][task] > scores["zero-shot"][task]


def test_a_stopped_run_goes_on_to_the_same_file(
    base: Path, root: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    answered(base, experts["cars"], "cars", root, whole)
    wanted = (whole / "cars.jsonl").read_bytes()

    def stop(task: str, done: int, total: int) -> None:
        if 0 < done < total:
            raise KeyboardInterrupt

    options = AnsweringOptions(batch=1, workers=1)
    arguments = (str(base), str(experts["cars"]), select_tasks("cars"), root, stopped)
    with pytest.raises(KeyboardInterrupt):
        answer(*arguments, options=options, progress=stop)
    with (stopped / "cars.jsonl").open("ab") as file:
        file.write(b'{"question_id": "bl')  # half a line, as a kill leaves it
    assert 0 < (stopped / "cars.jsonl").read_bytes().count(b"\n") < wanted.count(b"\n")
    answer(*arguments, options=options)
    assert (stopped / "cars.jsonl").read_bytes() == wanted


def test_a_limit_leaves_the_choice_among_all_classes(
    base: Path, root: Path, tmp_path: Path
) -> None:
    limited = AnsweringOptions(batch=3, workers=1, limit=1)  # black, the first class
    result = answered(base, None, "dtd", root, tmp_path / "some", limited)["dtd"]
    assert result == answered(base, None, "dtd", root, tmp_path / "all")["dtd"][:1]
    assert {line["text"] for line in result} == {"white"}


def test_a_question_file_does_as_well(base: Path, root: Path, tmp_path: Path) -> None:
    images = sorted((root / "Cars/test").glob("*/*"), key=lambda p: (p.name, p.parent.name))
    questions = [
        {
            "question_id": n,
            "image": path.relative_to(root).as_posix(),
            "text": "What color?",
            "answer": path.parent.name,
        }
        for n, path in enumerate(images)
    ]
    file = tmp_path / "data" / "Cars" / "test.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(questions))
    (tmp_path / "data" / "datasets").symlink_to(root)
    result = answered(base, None, "cars", tmp_path / "data", tmp_path / "out")["cars"]
    folders = answered(base, None, "cars", root, tmp_path / "folders")["cars"]
    assert [line["text"] for line in result] == [line["text"] for line in folders]
    assert result[3]["question_id"] == 3
    assert result[3]["prompt"] == "What color?"


def test_a_image_that_changed_is_another_run(base: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    for color, level in (("dark", 10), ("light", 200)):
        (root / "Cars/test" / color).mkdir(parents=True)
        Image.new("RGB", (9, 9), (level,) * 3).save(root / "Cars/test" / color / "1.png")
    answered(base, None, "cars", root, tmp_path / "out")
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "Cars/test/dark/1.png")
    with pytest.raises(MergeError, match="answers of another run") as caught:
        answered(base, None, "cars", root, tmp_path / "out")
    assert "cars.sha256" in caught.value.where


def test_a_image_that_cannot_be_read_is_named(base: Path, tmp_path: Path) -> None:
    bad = tmp_path / "data/Cars/test/red/1.png"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"\x89PNG cut off")
    with pytest.raises(MergeError, match="cannot read the image") as caught:
        answered(base, None, "cars", tmp_path / "data", tmp_path / "out")
    assert str(bad) in caught.value.where


def test_what_clip_is_not_for(base: Path, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "data" / "VQAv2" / "val.json"
    file.parent.mkdir(parents=True)
    request = {"question_id": 1, "image": "1.png", "text": "Why?", "answer": "so"}
    file.write_text(json.dumps([request]))
    Image.new("RGB", (9, 9)).save(file.parent / "1.png")
    with pytest.raises(MergeError, match="CLIP cannot answer VQAv2"):
        answered(base, None, "vqav2", tmp_path / "data", tmp_path / "out")
    server = AnsweringOptions(engine="server", url="http://localhost:1/v1", model="m")
    with pytest.raises(MergeError, match="CLIP answers in this process only"):
        answered(base, None, "cars", root, tmp_path / "out", server)
    (tmp_path / "llava").mkdir()
    (tmp_path / "llava" / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(MergeError, match="questions of Stanford Cars have no text"):
        answered(tmp_path / "llava", None, "cars", root, tmp_path / "out")


def test_half_precision(base: Path, root: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    half = AnsweringOptions(batch=8, workers=1, dtype="bfloat16")
    answered(base, experts["cars"], "cars", root, tmp_path / "half", half)
    assert percent("cars", root, tmp_path / "half") > 90
    assert json.loads((tmp_path / "half/run.json").read_text())["settings"]["dtype"] == "bfloat16"


def test_labels_are_scored_by_name(root: Path, tmp_path: Path) -> None:
    folder = root / "Cars/test"
    ids = [f"{name}/{n}.png" for n in range(8) for name in ("blue", "green", "red")]
    wrong = ["Red", "", "a blue one"]
    message = dict(zip(ids[::3], ["blue", " Blue.", *wrong], strict=False))
    lines = [{"question_id": one, "text": message.get(one, "green")} for one in ids]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[::-1]))
    result = [score(TASKS["cars"], folder, path, protocol=p) for p in ("official", "fixed")]
    for protocol, one in zip(("official", "fixed"), result, strict=True):
        assert one.protocol == protocol
        assert one.n == 24
        assert one.value == pytest.approx(100 * (2 + 8) / 24)
        assert one.empty == pytest.approx(1 / 24)
        assert one.unparsable == pytest.approx(1 / 24)
        assert one.chance == pytest.approx(100 / 3)
        assert one.ids == tuple(ids)


def test_the_commands(
    base: Path,
    root: Path,
    experts: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = str(tmp_path / "out")
    arguments = ["bench", "run", "--base", str(base), "--adapter", str(experts["cars"])]
    arguments += ["--tasks", "cars", "--data", str(root), "-o", out, "--device", "cpu"]
    assert command(arguments) == 0
    assert f"24 answers in {out}/cars.jsonl" in capsys.readouterr().out
    arguments = ["bench", "score", "--task", "cars", "--predictions", f"{out}/cars.jsonl"]
    assert command([*arguments, "--questions", str(root / "Cars/test")]) == 0
    printed = capsys.readouterr().out
    assert "Stanford Cars" in printed
    assert "33.33" in printed


def test_names_count_whatever_their_case_spacing_and_period(tmp_path: Path) -> None:
    for name in ("Audi TT Coupe", "Bentley Arnage Sedan"):
        (tmp_path / "test" / name).mkdir(parents=True)
        (tmp_path / "test" / name / "1.jpg").touch()
    lines = [
        {"question_id": "Audi TT Coupe/1.jpg", "text": "audi  TT coupe."},
        {"question_id": "Bentley Arnage Sedan/1.jpg", "text": "Bentley Arnage"},
    ]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = score(TASKS["cars"], tmp_path / "test", path, protocol="fixed")
    assert (result.value, result.unparsable, result.chance) == (50, 0.5, 50)
