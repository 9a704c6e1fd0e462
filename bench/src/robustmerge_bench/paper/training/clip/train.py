"""Experts of CLIP: a LoRA on the vision encoder, trained under a head made of sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from robustmerge.files import expand_user

from ...answering.clip.model import ClipModel
from ...answering.clip.templates import sentences
from ...tasks import PaperTask
from ..batches import Collator, OrderedExamples
from ..device import ClipDeviceConfig, DeviceConfig
from ..expert import start_A
from ..progress import Report, silent
from ..record import model_card
from ..session import ExpertTraining, check_output
from .images import ClassImages, ImageEncoder
from .recipe import PATTERNS, ClipRecipe


def train(
    base: str,
    tasks: Sequence[PaperTask],
    data: Path,
    output: str | Path,
    *,
    recipe: ClipRecipe | None = None,
    device: DeviceConfig | None = None,
    restart: bool = False,
    force: bool = False,
    report: Report = silent,
) -> dict[str, Any]:
    """Train an adapter on the images of one task, or of several together.

    Each image is classified among the classes of its own task. `data` is the folder that holds all
    tasks; the other arguments are those of `paper.training.train.train`.

    After an error, only checkpoints were written.
    """
    target = check_output(output, base, force=force)
    training = ClassTraining(
        base,
        recipe or ClipRecipe(),
        device or ClipDeviceConfig(),
        ClassImages.read(tasks, expand_user(data)),
    )
    return training.run(target, restart=restart, force=force, report=report)


class ClassTraining(ExpertTraining[ClipRecipe]):
    """The training of an expert on classes of images."""

    unit = "pictures"

    def __init__(
        self, base: str, recipe: ClipRecipe, device: DeviceConfig, data: ClassImages
    ) -> None:
        super().__init__(base, "+".join(data.tasks), recipe, device, data.counts, data.files)
        self._data = data

    @property
    def portion(self) -> int:
        """Images that one device gets at once: its share of a batch, unless set otherwise."""
        return self.device.portion(self.recipe.batch, most=self.recipe.batch)

    def trainer_arguments(self) -> Mapping[str, Any]:
        """Return the weight decay."""
        return {"weight_decay": self.recipe.weight_decay}

    def load(self, device: torch.device) -> PeftModel:
        """Load the base with an untrained LoRA in float32; it is then called with pixels.

        The whole model is wrapped and not its vision encoder, so that names in the adapter are
        those that every version of transformers has for the whole model.
        """
        dtype = self.device.dtype(self.recipe.dtype)
        self._clip = ClipModel.load(self.base, device=str(device), dtype=dtype)
        self._loss = ClassLoss.of(self._clip, self._data)
        self._clip.model.forward = self._clip.model.get_image_features
        config = LoraConfig(
            r=self.recipe.rank,
            lora_alpha=self.recipe.alpha,
            lora_dropout=self.recipe.dropout,
            target_modules=PATTERNS[self.recipe.targets],
        )
        expert: PeftModel = get_peft_model(self._clip.model, config)
        start_A(expert, self.recipe.init, self.recipe.seed, self.task)
        return expert

    def trainer_options(self, portion: int) -> Mapping[str, Any]:
        """Return examples, collator and loss."""
        images, encoder = self._data.images, ImageEncoder(self._clip)
        return {
            "train_dataset": OrderedExamples(images, self.rows, portion, encoder),
            "data_collator": Collator(),
            "compute_loss_func": self._loss,
        }

    def card(self, record: Mapping[str, Any]) -> str:
        """Return the model card."""
        recipe = record["recipe"]
        return model_card(
            record,
            f"""\
A LoRA of rank {recipe["rank"]} on the vision encoder of {record["base"]} ({recipe["targets"]}),
trained under the head that the base's text encoder makes of class names. {record["pictures_seen"]}
pictures in {record["steps"]} steps of {recipe["batch"]}, learning rate
{recipe["learning_rate"]:g}, seed {recipe["seed"]}, A {recipe["init"]}.""",
            "clip",
        )


@dataclass(frozen=True)
class ClassLoss:
    """Cross entropy of each image's class among those of its task.

    Attributes:
        head: A row for each class of all tasks; it is not trained.
        owners: The task that each class belongs to.
        scale: Factor between cosines and logits.
    """

    head: Float[Tensor, "classes dim"]
    owners: Int[Tensor, " classes"]
    scale: Float[Tensor, ""]

    @classmethod
    def of(cls, clip: ClipModel, data: ClassImages) -> ClassLoss:
        """Make the head of all classes of all tasks."""
        names = [
            sentences(task, name)
            for task, classes in zip(data.tasks, data.classes, strict=True)
            for name in classes
        ]
        return cls(clip.head(names), data.owners, clip.scale.detach())

    def __call__(
        self,
        outputs: Any,
        labels: Int[Tensor, " images"],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Return the sum over these images, divided by the number of images of the whole step."""
        device = labels.device
        features = normalize(outputs.pooler_output.float(), dim=-1)  # [images, dim]
        logits = self.scale.to(device) * features @ self.head.to(device).T  # [images, classes]
        owners = self.owners.to(device)
        others = owners[labels][:, None] != owners  # [images, classes]
        total = cross_entropy(logits.masked_fill(others, -torch.inf), labels, reduction="sum")
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)
