"""`robustmerge bench score`: what it prints and writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from robustmerge.cli.app import run
from robustmerge_bench.paper.score import Score

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def rec(tmp_path: Path) -> list[str]:
    """Ten perfect boxes, one empty answer and one in words."""
    boxes = [f"[0.{i}1, 0.21, 0.{i + 1}1, 0.38]" for i in range(1, 6)] * 2 + ["", "left"]
    questions = [
        {
            "question_id": i,
            "image": "a.jpg",
            "text": "where?",
            "answer_bbox": f"[0.{i % 5 + 1}1,0.21,0.{i % 5 + 2}1,0.38]",
            "size": [640, 480],
        }
        for i in range(12)
    ]
    lines = [json.dumps({"question_id": i, "text": box}) for i, box in enumerate(boxes)]
    (tmp_path / "test.json").write_text(json.dumps(questions))
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    return [
        "bench", "score", "--task", "rec", "--questions", str(tmp_path / "test.json"),
        "--predictions", str(tmp_path / "p.jsonl"),
    ]  # fmt: skip


def row(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return line.removeprefix(name).split()


def test_both_protocols_side_by_side(rec: list[str], tmp_path: Path, capsys: Capture) -> None:
    assert run([*rec, "--json", str(tmp_path / "out" / "rec.json")]) == 0
    printed = capsys.readouterr().out
    assert row(printed, "REC") == ["official", "fixed"]
    assert row(printed, "score") == ["83.33", "83.33"]
    assert row(printed, "samples") == ["12", "12"]
    assert row(printed, "empty answers") == ["8.3%"] * 2
    assert row(printed, "unparsable answers") == ["8.3%"] * 2
    assert row(printed, "chance") == ["-", "-"]
    assert len(row(printed, "95% interval")) == 6
    assert "note" not in printed  # 0.38 and 0.3 overlap by more than half
    for protocol in "official", "fixed":
        path = tmp_path / "out" / f"rec.{protocol}.json"
        assert f"written to {path}" in printed
        score = Score.read(path)
        assert (score.protocol, score.n) == (protocol, 12)
        assert score.value == pytest.approx(1000 / 12)


def test_a_note_where_they_differ(rec: list[str], tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(path.read_text().replace("0.38]", "0.38], I think"))
    assert run(rec) == 0
    printed = capsys.readouterr().out
    assert row(printed, "score") == ["0.00", "83.33"]
    assert (
        "note: official gives 83.33 less than fixed: official drops the last character" in printed
    )
    assert printed.rstrip().endswith("fixed gives more for 10, such as '0'")


def test_a_truncated_run(rec: list[str], tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:5]))
    assert run(rec) == 1
    printed = capsys.readouterr().err
    assert "error: 7 of 12 questions have no answer: 5, 6, 7, … and 4 more" in printed
    assert "hint: finish the run; or --missing wrong counts them as wrong" in printed
    assert run([*rec, "--missing", "wrong"]) == 0
    printed = capsys.readouterr().out
    assert row(printed, "samples") == ["5", "12"]
    assert "note: official counts the 5 answers that are there, of 12 questions" in printed
    assert run([*rec, "--protocol", "official", "--json", str(tmp_path / "one.json")]) == 0
    printed = capsys.readouterr().out
    assert row(printed, "REC") == ["official"]
    assert "note: official counts the 5 answers" in printed
    assert Score.read(tmp_path / "one.json").n == 5


def test_parts_and_a_metric_that_is_missing(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    references = {
        "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
        "annotations": [
            {"image_id": 1, "caption": "a red dog runs"},
            {"image_id": 2, "caption": "two cats"},
        ],
    }
    questions = [{"question_id": i, "image": f"{i}.jpg", "text": "what?"} for i in (1, 2)]
    lines = ['{"question_id": 1, "text": "a red dog"}', '{"question_id": 2, "text": "cats"}']
    (tmp_path / "val.json").write_text(json.dumps(questions))
    (tmp_path / "val_coco_type.json").write_text(json.dumps(references))
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    arguments = ["bench", "score", "--task", "vizwiz", "--questions", str(tmp_path / "val.json")]
    assert run([*arguments, "--predictions", str(tmp_path / "p.jsonl")]) == 0
    printed = capsys.readouterr().out
    assert row(printed, "score")[1] == row(printed, "score")[3] == "*"
    assert len(row(printed, "  Bleu_4")) == 2
    assert "VizWiz captions, mean of metrics" in printed
    assert "* METEOR is missing, since java is not installed" in printed


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (["--task", "recc"], 1, "did you mean rec?"),
        (["--protocol", "fix"], 2, "protocol"),
        (["--missing", "skip"], 2, "missing"),
        (["--questions", "/none.json"], 1, "cannot read the file"),
    ],
)
def test_wrong_usage(
    rec: list[str], change: list[str], code: int, message: str, capsys: Capture
) -> None:
    if change[0] in rec:
        at = rec.index(change[0])
        rec = rec[:at] + rec[at + 2 :]
    assert run([*rec, *change]) == code
    assert message in capsys.readouterr().err


def test_it_needs_neither_models_nor_pictures(rec: list[str]) -> None:
    code = (
        "import sys\nfrom robustmerge.cli.app import run\n"
        f"assert run({rec!r}) == 0\n"
        "assert not {'transformers', 'peft', 'PIL', 'torch'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
