"""What methods that need data are given: statistics of the experts on items without answers.

They are gathered as users gather them, from files by `robustmerge collect`. 100 items of eight
tasks take about 10 s of one thread for gram, 15 s for fisher.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from robustmerge.collect.folders import collect_folders
from robustmerge.collect.live import What

from ...item import Item

SAMPLES = "samples.jsonl"


def gathered(
    base: Path,
    experts: Mapping[str, Path],
    items: Mapping[str, Sequence[Item]],
    what: Sequence[What],
    folder: Path,
) -> Path:
    """Gather statistics.

    Args:
        base: Folder of the base model.
        experts: Folder of every task's expert, in the order in which they are merged.
        items: Items of every task.
        what: gram, fisher or both.
        folder: Where pictures, questions and the result are written.

    Returns:
        The folder of statistics, the data of a merge.

    Raises:
        MergeError: As `collect_folders`.
    """
    files = [_written(items[task], folder / "samples" / task) for task in experts]
    most = max(len(some) for some in items.values())
    output = folder / "statistics"
    collect_folders(list(experts.values()), base, files, output, what=what, limit=most)
    return output


def _written(items: Sequence[Item], folder: Path) -> Path:
    """Items as a file of samples with their pictures; what they are to be answered stays out."""
    folder.mkdir(parents=True)
    lines = []
    for number, item in enumerate(items):
        picture = folder / f"{number}.png"
        Image.fromarray(item.image).save(picture)
        lines.append(json.dumps({"prompt": item.prompt, "image": picture.name}))
    file = folder / SAMPLES
    file.write_text("\n".join(lines), encoding="utf-8")
    return file
