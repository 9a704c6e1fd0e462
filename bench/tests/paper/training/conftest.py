"""A tiny LLaVA, and conversations about images that PIL draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_factories.conversations import entry, source_of, write
from bench_factories.tiny_models import draw, save
from robustmerge_bench.paper.training.conversations import Source


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny LLaVA."""
    return save("llava", tmp_path_factory.mktemp("llava") / "base")


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Six conversations about images, one about none and of two turns."""
    folder = tmp_path_factory.mktemp("lessons")
    for n, size in enumerate([(60, 40), (40, 100), (50, 50)] * 2):
        draw(folder / f"{n}.png", n, size)
    records = [entry(f"What é is {n}?", f"Thing {n}", f"{n}.png") for n in range(6)]
    return source_of(write(folder / "train.json", [*records, entry("2+2", "4", more=("+3", "7"))]))
