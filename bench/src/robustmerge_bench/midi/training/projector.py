"""Train the projector so that every token of an image is the word of what its cell shows.

The language model is not run: the target of a token is the first token of its word, among the words
of the images, and the score of a word is the inner product with its embedding, as in the language
model's own (tied) output layer. Labels are free, since the images are composed. An image costs its
rendering and the tower, some 0.05 s of one core; from the loss of the language model alone, reading
is learned far more slowly.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from ..images.compose import COLORS, Composed, compose_drawings, compose_number
from ..images.pieces import Drawing
from .tower import LiteTower, pixels

STANDARD = 256  # images that the channels' means and spreads are measured on
VALIDATION = 400  # images of a report


@dataclass(frozen=True)
class ProjectorSettings:
    """Length and rate of the training.

    Attributes:
        images: Images that are seen once each.
        batch: Images of a step.
        rate: Highest learning rate of AdamW; it falls along a cosine.
        numbers: Share of the images that show a number.
        every: Steps between checkpoints.
    """

    images: int = 24_000
    batch: int = 16
    rate: float = 1e-3
    numbers: float = 0.5
    every: int = 50

    @property
    def steps(self) -> int:
        """Updates of the weights."""
        return self.images // self.batch


@dataclass(frozen=True)
class ImageSource:
    """What images are composed of."""

    drawings: tuple[Drawing, ...]
    fonts: tuple[Path, ...]

    def draw(self, rng: Generator, numbers: float) -> Composed:
        """Compose an image of one or two drawings, or of a number."""
        if rng.random() < numbers:
            return compose_number(rng, self.fonts)
        return compose_drawings(rng, self.drawings, int(rng.integers(1, 3)))

    @property
    def words(self) -> tuple[str, ...]:
        """Every word that a cell can have."""
        return (*COLORS, *map(str, range(10)), *(drawing.name for drawing in self.drawings))


class WordTargets:
    """The words of the cells as rows of the language model's embeddings."""

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        words: Sequence[str],
    ) -> None:
        firsts = [first_token(tokenizer, word) for word in words]
        self.tokens = sorted(set(firsts))
        rows = {token: row for row, token in enumerate(self.tokens)}
        self.rows = {word: rows[token] for word, token in zip(words, firsts, strict=True)}
        embeddings = model.get_input_embeddings().weight
        self.embeddings = embeddings[self.tokens].detach().float()  # [words, width]

    def labels(self, images: Sequence[Composed]) -> Tensor:
        """Return the row of each cell's word: [images, 49]."""
        return torch.tensor([[self.rows[word] for word in image.words] for image in images])

    def scores(self, projected: Tensor) -> Tensor:
        """Return scores [..., words] of projected tokens [..., width]."""
        scores: Tensor = projected.float() @ self.embeddings.to(projected.device).T
        return scores


def first_token(tokenizer: PreTrainedTokenizerBase, word: str) -> int:
    """Return the first token of a word inside a sentence; a digit stands alone."""
    text = word if word.isdigit() else f" {word}"
    return int(tokenizer(text, add_special_tokens=False).input_ids[0])


@torch.no_grad()
def standardize(tower: LiteTower, source: ImageSource, numbers: float = 0.5) -> None:
    """Measure means and spreads of the tower's channels on images of the training."""
    rng = np.random.default_rng(0)
    images = [source.draw(rng, numbers).pixels for _ in range(STANDARD)]
    raw = torch.cat([tower.raw(pixels(images[i : i + 16])) for i in range(0, STANDARD, 16)])
    flat = raw.flatten(0, 1)  # [images·49, channels]
    tower.mean.copy_(flat.mean(0))
    tower.spread.copy_(flat.std(0).clamp_min(1e-3))


@torch.no_grad()
def look(tower: LiteTower, images: Sequence[Composed]) -> Tensor:
    """Return the standardized tokens of images: [n, 49, 1728]."""
    inputs = pixels([image.pixels for image in images]).to(tower.device)
    tokens: Tensor = tower(inputs).last_hidden_state
    return tokens


def train_projector(
    model: LlavaForConditionalGeneration,
    targets: WordTargets,
    source: ImageSource,
    settings: ProjectorSettings,
    folder: Path,
    *,
    seconds: float = float("inf"),
) -> int:
    """Train until the end, or for so many seconds; return the step that was reached.

    FOLDER/projector.pt is the state, written whole; a training that was stopped goes on from it
    with the same images. FOLDER/projector.jsonl has a line of figures for every checkpoint.
    """
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    assert isinstance(tower, LiteTower)
    optimizer = torch.optim.AdamW(projector.parameters(), settings.rate, weight_decay=0.01)
    checkpoint = folder / "projector.pt"
    start, begin = 0, time.monotonic()
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        projector.load_state_dict(state["projector"])
        optimizer.load_state_dict(state["optimizer"])
        tower.mean.copy_(state["mean"])
        tower.spread.copy_(state["spread"])
        start = state["step"]
    else:
        standardize(tower, source, settings.numbers)
    losses = []
    for step in range(start, settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * _share(step, settings.steps)
        rng = np.random.default_rng([0, 1, step])
        images = [source.draw(rng, settings.numbers) for _ in range(settings.batch)]
        scores = targets.scores(projector(look(tower, images)))  # [n, 49, words]
        loss = cross_entropy(scores.flatten(0, 1), targets.labels(images).flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(projector.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        late = time.monotonic() - begin > seconds
        if (step + 1) % settings.every == 0 or step + 1 == settings.steps or late:
            new = checkpoint.with_suffix(".new")
            parts = {"projector": projector.state_dict(), "optimizer": optimizer.state_dict()}
            parts |= {"mean": tower.mean, "spread": tower.spread}
            torch.save({**parts, "step": step + 1}, new)
            new.replace(checkpoint)
            figures = {"step": step + 1, "loss": round(sum(losses) / len(losses), 4)}
            figures |= {"seconds": round(time.process_time())}
            with (folder / "projector.jsonl").open("a") as lines:
                lines.write(json.dumps(figures) + "\n")
            losses.clear()
        if late:
            return step + 1
    return settings.steps


def _share(step: int, steps: int) -> float:
    """Return the learning rate as a share of the highest: a warm-up of 3 %, then a cosine."""
    warm = max(1, round(0.03 * steps))
    if step < warm:
        return (step + 1) / warm
    return float(0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, steps - warm))))
