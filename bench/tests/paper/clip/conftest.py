"""A tiny CLIP, colored squares as two vision tasks, and an expert of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_factories import tiny_clip
from robustmerge_bench.paper.tasks import select_tasks
from robustmerge_bench.paper.training.clip.train import train


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.base(tmp_path_factory.mktemp("clip") / "base")


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cars, which are squares in three colors, and DTD, which are the same in other ones."""
    root = tmp_path_factory.mktemp("data")
    others = {"yellow": (240, 230, 20), "white": (250, 250, 250), "black": (5, 5, 5)}
    for seed, (name, colors) in enumerate((("Cars", tiny_clip.COLORS), ("DTD", others))):
        tiny_clip.squares(root / name / "train", 12, 10 + seed, colors)
        tiny_clip.squares(root / name / "test", 8, 20 + seed, colors)
    return root


@pytest.fixture(scope="session")
def experts(base: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One for each task."""
    folder = tmp_path_factory.mktemp("experts")
    for task in ("cars", "dtd"):
        train(str(base), select_tasks(task), root, folder / task, recipe=tiny_clip.QUICK)
    return {task: folder / task for task in ("cars", "dtd")}
