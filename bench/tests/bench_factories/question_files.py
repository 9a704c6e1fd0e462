"""Small question files in the real layouts, with pictures that PIL draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench_factories.tiny_models import draw
from robustmerge_bench.paper.tasks import TASKS, PaperTask

_SIZES = ((60, 40), (40, 60), (50, 50), (90, 30), (33, 47))
_TEXTS = {
    "imagenet": "What is the object in the image?\nAnswer with a single word or phrase.",
    "rec": "Where is it?\nPlease provide the bounding box coordinate of the region: thing {n}",
    "vizwiz": "What is happening in the image?\nGenerate a brief caption for the image.",
}
_TEXT = "What is number {n}{s}?\nAnswer the question using a single word or phrase."


def fill(root: Path, names: tuple[str, ...], n: int = 7, layout: str = "instructions") -> Path:
    """Write a root with questions of these tasks.

    Args:
        root: Where.
        names: Names of tasks.
        n: Questions of each.
        layout: The folder that the tasks' folders are in, such as "Seen_data"; pictures are in
            `datasets`, where the paths of the files start.
    """
    for name in names:
        task = TASKS[name]
        folder = root / layout / task.folders[0]
        folder.mkdir(parents=True, exist_ok=True)
        records = [_record(root, task, number) for number in range(n)]
        path = folder / task.questions[0]
        if path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(one) + "\n" for one in records))
        else:
            path.write_text(json.dumps(records))
    return root


def _record(root: Path, task: PaperTask, number: int) -> dict[str, Any]:
    text = _TEXTS.get(task.name, _TEXT).format(n=number, s=" or so" * (number % 4))
    record: dict[str, Any] = {"question_id": str(100 + number), "text": text, "answer": "B"}
    if task.name in ("imagenet-r", "mme"):
        record["question_id"] = number // 2
    if not (task.without_image and number % 3 == 1):
        image = f"{task.folders[0]}/val/{number}.png"
        draw(root / "datasets" / image, number, _SIZES[number % len(_SIZES)])
        record["image"] = f"./{image}" if number % 2 else image
    if task.name == "rec":
        record |= {"answer_bbox": "[0.1,0.2,0.5,0.75]", "size": [60, 40]}
    return record
