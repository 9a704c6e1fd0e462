"""A base with adapters and samples, for what goes from folders to statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from factories.bases import adapt, lines, llama, llava, text_only, write_image
from factories.families import _quiet, save_adapter


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA with two adapters and a file of samples for each; a Llama with two of its own."""
    root = tmp_path_factory.mktemp("place")
    llava(root / "base")
    save_adapter("llava", root / "vqa", seed=1, rank=3)
    save_adapter("llava", root / "ocr", seed=2, rank=2, alpha=3, rslora=True)
    (root / "images").mkdir()
    write_image(root / "images" / "one.png", 1)
    image = "images/one.png"
    lines(root / "vqa.jsonl", [{"prompt": "w5 w6", "image": image}, {"text": "w7 w8 w9"}])
    answered = {"prompt": "w5 w6", "answer": "w11 w12", "images": [image]}
    lines(root / "ocr.jsonl", [answered, {"prompt": "w20 w21 w22 w23"}, {"prompt": "w1"}])
    llama(root / "text")
    adapt(text_only(), {"left": {"r": 3}, "right": {"r": 2}}, root)
    return root


@pytest.fixture
def arguments(location: Path) -> list[str]:
    files = [str(location / f"{name}.jsonl") for name in ("vqa", "ocr")]
    adapters = [str(location / name) for name in ("vqa", "ocr")]
    return ["collect", *adapters, "--base", str(location / "base"), "--samples", *files]


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with _quiet():
        yield
