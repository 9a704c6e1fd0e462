"""Items of the laptop benchmark as samples of a task: one line and one image for each prompt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from robustmerge_bench.item import Item

from .cases import SEEN


def next_task(task: str) -> str:
    """Return the seen task whose prompts stand in for some of this one's."""
    return SEEN[(SEEN.index(task) + 1) % len(SEEN)]


def mixed(own: Sequence[Item], other: Sequence[Item], foreign: float) -> Iterator[Item]:
    """Yield a task's items, the first of every 1 / foreign being the other task's.

    Args:
        own: Items of the task.
        other: As many of the other task.
        foreign: Share of the items that are the other's, 0 for none.
    """
    period = round(1 / foreign) if foreign else 0
    for number, item in enumerate(own):
        yield other[number] if period and number % period == 0 else item


def write_items(items: Iterable[Item], folder: Path) -> Path:
    """Write a file of samples and its images into a new folder; return the file."""
    folder.mkdir(parents=True)
    lines = []
    for number, item in enumerate(items):
        image = folder / f"{number}.png"
        Image.fromarray(item.image).save(image)
        line = {"prompt": item.prompt, "image": image.name, "answer": item.answer}
        lines.append(json.dumps(line))
    file = folder / "samples.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file
