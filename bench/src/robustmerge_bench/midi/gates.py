"""The first gate: whether the model sees and reads, before the long stages are trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.random import Generator
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration

from ..item import Item
from ..metrics.exact import exact_match
from ..mini.ranking.gates import Gate
from .images.questions import (
    ask_for_caption,
    ask_for_number,
    blind_caption_floor,
    draw_drawings,
    draw_number,
)
from .student import MidiModel
from .training.dialog import Dialog, answer_scores
from .training.language import collate_with_features
from .training.projector import ImageSource

READ = 60.0
"""Percent of the numbers of three large digits that are to be read."""

_BATCH = 25


def check_seeing(
    model: LlavaForConditionalGeneration, dialog: Dialog, source: ImageSource, count: int = 200
) -> list[Gate]:
    """Check captions and numbers on images of the test split; 200 of each take some 3 minutes.

    A caption's nats are summed over its tokens, in bfloat16; numbers are answered greedily. The
    model is changed: it computes in bfloat16 afterwards.
    """
    drawings, fonts = source.drawings, source.fonts
    captions = _draw(lambda rng: ask_for_caption(draw_drawings(rng, drawings, "test")), count)
    numbers = _draw(lambda rng: ask_for_number(draw_number(rng, fonts, "test")), count)
    nats, floor = mean_nats(model, dialog, captions), blind_caption_floor(len(drawings))
    answers = MidiModel(model, dialog).answer(numbers)
    pairs = zip(answers, numbers, strict=True)
    right = float(np.mean([exact_match(answer, item.references) for answer, item in pairs]))
    return [
        Gate(
            "captions are seen",
            f"fewer nats a caption than {floor:.2f}, the best without the image",
            f"{nats:.2f} on {count} captions",
            nats < floor,
        ),
        Gate(
            "numbers are read",
            f"{READ:.0f}% of numbers of three large digits",
            f"{right:.1f}% of {count}",
            right >= READ,
        ),
    ]


@torch.inference_mode()
def mean_nats(model: LlavaForConditionalGeneration, dialog: Dialog, items: Sequence[Item]) -> float:
    """Return the nats of an item's answer, its end included, on average."""
    total = 0.0
    for start in range(0, len(items), _BATCH):
        batch = items[start : start + _BATCH]
        rows, features = collate_with_features(model, dialog, [[item] for item in batch])
        with torch.autocast(model.device.type, torch.bfloat16):
            scores, labels = answer_scores(model, rows, features)
        total += float(cross_entropy(scores, labels, reduction="sum"))
    return total / len(items)


def _draw(draw: Callable[[Generator], Item], count: int) -> list[Item]:
    rng = np.random.default_rng(9)
    return [draw(rng) for _ in range(count)]
