"""Train, merge, answer, score, table: by the command line, on a tiny LLaVA that really learns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForImageTextToText

from bench_factories.conversations import entry, write
from bench_factories.tiny_models import draw, save
from robustmerge.cli.app import run

TASKS = {"iconqa": ("IconQA", "How many?", "4"), "vqav2": ("VQAv2", "Which color?", "red")}
N = 4
LEARNING = "--rank 4 --dropout 0 --batch 4 --epochs 60 --learning-rate 5e-3 --projector-rate 1e-3"


def enlarge_head(base: Path) -> Path:
    """Enlarge the head, which is frozen: as it is, no hidden state makes it sure of a token."""
    model = AutoModelForImageTextToText.from_pretrained(base)
    model.get_output_embeddings().weight.data *= 5
    model.save_pretrained(base)
    return base


def lay_out(data: Path) -> Path:
    """Training and test files of two tasks, each with one answer to its own question."""
    for folder, question, answer in TASKS.values():
        place = data / "instructions" / folder
        images = [f"{folder}/{n}.png" for n in range(N)]
        for n, image in enumerate(images):
            draw(data / "datasets" / image, n)
        write(place / "train.json", [entry(question, answer, image) for image in images])
        asked = [
            {"question_id": n, "image": image, "text": question, "answer": answer}
            for n, image in enumerate(images)
        ]
        (place / "val.json").write_text(json.dumps(asked))
    return data


@pytest.mark.slow
def test_from_training_to_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = str(enlarge_head(save("llava", tmp_path / "base")))
    data = str(lay_out(tmp_path / "data"))
    for task in TASKS:
        out = str(tmp_path / "adapters" / task)
        given = ["--base", base, "--task", task, "--data", data, "-o", out]
        assert run(["bench", "train", *given, *LEARNING.split()]) == 0
    study = {
        "base": "base",
        "data": "data",
        "adapters": {task: f"adapters/{task}" for task in TASKS},
        "methods": [
            "zero-shot",
            "individual",
            {"label": "sum", "method": "task-arithmetic", "rank": "full"},
        ],
        "tasks": list(TASKS),
        "answering": {"max_new_tokens": 8, "device": "cpu"},
    }
    file, out = tmp_path / "study.yaml", str(tmp_path / "results")
    file.write_text(yaml.safe_dump(study))
    assert run(["bench", "study", str(file), "-o", out]) == 0
    capsys.readouterr()
    assert run(["bench", "table", out, "--protocol", "official", "--format", "json"]) == 0
    table = json.loads(capsys.readouterr().out)
    scores = {
        contender["label"]: {task: each["value"] for task, each in contender["tasks"].items()}
        for contender in table["protocols"]["official"]["contenders"]
    }
    for task in TASKS:
        assert scores["zero-shot"][task] == 0
        assert scores["individual"][task] == 100
    assert sum(scores["sum"].values()) >= 100  # a sum of two such experts keeps one at least
