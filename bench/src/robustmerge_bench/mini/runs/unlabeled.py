"""Statistics of the experts on items without answers, for methods that need data.

They are collected from files, as `robustmerge collect` does it for users. 100 items of eight tasks
take about 10 s of one thread for gram, 15 s for fisher.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from robustmerge.collect.folders import collect_folders
from robustmerge.statistic_kinds import KindName

from ...item import Item

SAMPLES = "samples.jsonl"


def collect_statistics(
    base: Path,
    experts: Mapping[str, Path],
    items: Mapping[str, Sequence[Item]],
    statistics: Sequence[KindName],
    folder: Path,
    device: str = "cpu",
) -> Path:
    """Collect statistics; return their folder, for the option `data` of a merge.

    `experts` are folders by task, in the order in which they are merged. Images and prompts are
    written into `folder`, too.
    """
    files = write_all_samples(items, experts, folder)
    most = max(len(some) for some in items.values())
    output = folder / "statistics"
    folders = list(experts.values())
    collect_folders(folders, base, files, output, what=statistics, limit=most, device=device)
    return output


def write_all_samples(
    items: Mapping[str, Sequence[Item]], tasks: Iterable[str], folder: Path
) -> list[Path]:
    """Write a file of samples for each task; return the files in the tasks' order."""
    return [_write_samples(items[task], folder / "samples" / task) for task in tasks]


def _write_samples(items: Sequence[Item], folder: Path) -> Path:
    """Write a file of samples and their images, without answers."""
    folder.mkdir(parents=True)
    lines = []
    for number, item in enumerate(items):
        image = folder / f"{number}.png"
        Image.fromarray(item.image).save(image)
        lines.append(json.dumps({"prompt": item.prompt, "image": image.name}))
    file = folder / SAMPLES
    file.write_text("\n".join(lines), encoding="utf-8")
    return file
