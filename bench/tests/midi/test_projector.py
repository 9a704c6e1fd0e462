"""The projector's training: the truth of cells, and the same weights after an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from robustmerge_bench.midi.images.compose import COLORS, compose_drawings
from robustmerge_bench.midi.images.pieces import Drawing, read_drawings
from robustmerge_bench.midi.training.projector import (
    ImageSource,
    ProjectorSettings,
    WordTargets,
    restore,
    train_projector,
)

from .test_model import small

SETTINGS = ProjectorSettings(images=8, batch=2, numbers=0.0, icons=0.5, every=2)


def drawings(folder: Path) -> tuple[Drawing, ...]:
    """Discs of three colors, laid out as the package of emoji is."""
    entries = []
    shown = folder / "img" / "google" / "64"
    shown.mkdir(parents=True)
    for name, color in (("CAT", "red"), ("BUS", "blue"), ("RED APPLE", "red"), ("SUN", "yellow")):
        Image.new("RGBA", (64, 64), color).save(shown / f"{name}.png")
        entries.append({"name": name, "category": "Objects", "image": f"{name}.png"})
    (folder / "emoji.json").write_text(json.dumps(entries))
    return read_drawings(folder)


def tokenizer(words: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """A tokenizer with a number for each word."""
    inner = Tokenizer(
        models.WordLevel(dict(zip(words, range(len(words)), strict=True)), unk_token=words[0])
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner)


def test_names_of_one_word_are_used(tmp_path: Path) -> None:
    assert [drawing.name for drawing in drawings(tmp_path)] == ["bus", "cat", "sun"]


def test_cells_say_what_covers_their_centers(tmp_path: Path) -> None:
    composed = compose_drawings(np.random.default_rng(3), drawings(tmp_path), 2)
    assert composed.pixels.shape == (224, 224, 3)
    grid = np.array(composed.words).reshape(7, 7)
    for name, (left, top, right, bottom) in composed.things:
        assert grid[(top + bottom) // 64, (left + right) // 64] == name
    centers = composed.pixels[16::32, 16::32].reshape(49, 3)
    for word, color in zip(composed.words, centers, strict=True):
        assert (tuple(int(v) for v in color) == COLORS[composed.ground]) == (word in COLORS)


def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustmerge_bench.midi.training.projector.STANDARD", 32)
    shown = drawings(tmp_path / "emoji")
    source = ImageSource(shown, shown[:2], ())

    def run(folder: Path, *limits: float) -> torch.Tensor:
        folder.mkdir()
        for limit in (*limits, float("inf")):
            model = small()
            targets = WordTargets(model, tokenizer(source.words), source.words)
            train_projector(model, targets, source, SETTINGS, folder, seconds=limit)
        return model.model.multi_modal_projector.linear_2.weight.detach()

    whole = run(tmp_path / "a")
    torch.testing.assert_close(whole, run(tmp_path / "b", 0.0), rtol=0, atol=0)
    again = small()
    restore(again, tmp_path / "b")
    torch.testing.assert_close(again.model.multi_modal_projector.linear_2.weight, whole)
    assert float(again.model.vision_tower.spread.max()) < 1  # measured, no longer the start
