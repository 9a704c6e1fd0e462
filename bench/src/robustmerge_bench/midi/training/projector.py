"""Train the projector so that every token of an image is the word of what its cell shows.

The language model is not run: the target of a token is the first token of its word, among the words
of the images, and the score of a word is the inner product with its embedding, as in the language
model's own (tied) output layer. Labels are free, since the images are composed. An image costs its
rendering and the tower, some 0.05 s of one core; from the loss of the language model alone, reading
is learned far more slowly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from ...mini.training.fit import Report, TrainingSchedule, fit, share_of
from ..images.compose import COLORS, Composed
from ..images.pieces import Depiction
from ..images.questions import draw_drawings, draw_icons, draw_number
from .tower import LiteTower, pixels

STATE = "projector.pt"

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
        icons: Share of the images that show icons; what is left shows drawings.
        every: Steps between checkpoints.
    """

    images: int = 20_000
    batch: int = 16
    rate: float = 1e-3
    numbers: float = 0.3
    icons: float = 0.25
    every: int = 50

    @property
    def steps(self) -> int:
        """Updates of the weights."""
        return self.images // self.batch

    @property
    def schedule(self) -> TrainingSchedule:
        """The schedule of the rate."""
        return TrainingSchedule(self.steps, self.rate, muon=False, decay=0.01)


class SeeingPart(nn.Module):
    """The projector, which is trained, and the two buffers of the tower, which are kept with it."""

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        super().__init__()
        tower = cast("LiteTower", model.model.vision_tower)
        self.projector = model.model.multi_modal_projector
        self.register_buffer("mean", tower.mean)
        self.register_buffer("spread", tower.spread)


@dataclass(frozen=True)
class ImageSource:
    """What images are composed of."""

    drawings: tuple[Depiction, ...]
    icons: tuple[Depiction, ...]
    fonts: tuple[Path, ...]

    def draw(self, rng: Generator, settings: ProjectorSettings) -> Composed:
        """Compose an image of a number, of icons or of drawings, of the train split."""
        sort = rng.random()
        if sort < settings.numbers:
            return draw_number(rng, self.fonts)
        if sort < settings.numbers + settings.icons:
            return draw_icons(rng, self.icons)
        return draw_drawings(rng, self.drawings)

    @property
    def words(self) -> tuple[str, ...]:
        """Every word that a cell can have; icons have names of drawings."""
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
def standardize(tower: LiteTower, source: ImageSource, settings: ProjectorSettings) -> None:
    """Measure means and spreads of the tower's channels on images of the training."""
    rng = np.random.default_rng(0)
    images = [source.draw(rng, settings).pixels for _ in range(STANDARD)]
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
    report: Report = lambda step, loss: None,
) -> int:
    """Train until the end, or for so many seconds; return the step that was reached.

    FOLDER/projector.pt is the state, written whole; a training that was stopped goes on from it
    with the same images.
    """
    part, tower = SeeingPart(model), cast("LiteTower", model.model.vision_tower)
    if not (folder / STATE).exists():
        standardize(tower, source, settings)

    def loss(rng: Generator) -> Tensor:
        images = [source.draw(rng, settings) for _ in range(share_of(settings.batch))]
        scores = targets.scores(part.projector(look(tower, images)))  # [n, 49, words]
        labels = targets.labels(images).to(scores.device)
        return cross_entropy(scores.flatten(0, 1), labels.flatten())

    return fit(
        part,
        loss,
        settings.schedule,
        seed=(0, 1),
        report=report,
        device=model.device.type,
        checkpoint=folder / STATE,
        every=settings.every,
        seconds=seconds,
    )


def restore(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """Load the projector of a training, and the means and spreads of the tower's channels."""
    state = torch.load(folder / STATE, map_location=model.device, weights_only=True)
    SeeingPart(model).load_state_dict(state["module"])
