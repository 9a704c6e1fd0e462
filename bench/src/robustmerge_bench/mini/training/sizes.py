"""Sizes of the models, and the length of each stage of their training."""

from __future__ import annotations

from dataclasses import dataclass

from .experts import ExpertSettings
from .fit import TrainingSchedule
from .model import Shape


@dataclass(frozen=True)
class Size:
    """A model and its training.

    The names are keys of training.json, which identifies a training.

    Attributes:
        shape: Of the model.
        sight: Vision pretraining.
        pictures: Images of a step of it.
        speech: Language pretraining.
        rows: Images of a step of it, with about six questions each.
        expert: Training of an expert.
    """

    about: str
    shape: Shape
    sight: TrainingSchedule
    pictures: int
    speech: TrainingSchedule
    rows: int
    expert: ExpertSettings


SIZES = {
    "nano": Size(
        "0.1 million parameters, half a minute on a laptop: knows little, for tests",
        Shape(48, 2, 48, 2, 96, 2),
        TrainingSchedule(60, 5e-3),
        32,
        TrainingSchedule(100, 5e-3),
        32,
        ExpertSettings(rank=2, items=128, epochs=1),
    ),
    "mini": Size(
        "4.7 million parameters, about an hour on two cores: the size of the published tables",
        Shape(160, 4, 256, 4, 704, 4),
        TrainingSchedule(900, 3e-3),
        128,
        TrainingSchedule(2000, 2e-3),
        64,
        ExpertSettings(rank=4),
    ),
    "midi": Size(
        "80 million parameters, for a GPU",
        Shape(320, 6, 768, 10, 2048, 8),
        TrainingSchedule(3000, 2e-3),
        512,
        TrainingSchedule(6000, 1e-3),
        256,
        ExpertSettings(rank=12, items=4000, rate=5e-4),
    ),
}
