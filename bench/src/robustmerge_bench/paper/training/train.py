"""Experts on conversations: a LoRA on the language model, and the projector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from robustmerge.collect.load import load_base
from robustmerge.errors import MergeError
from robustmerge.files import expand_user

from .batches import Collator, OrderedExamples, answer_loss
from .conversations import Source, TrainingSet
from .device import DeviceConfig
from .encoding import ConversationEncoder, encoder_for
from .expert import with_lora
from .progress import Report, silent
from .recipe import TrainingRecipe
from .record import model_card
from .session import ExpertTraining, check_output


def train(
    base: str,
    sources: Sequence[Source],
    output: str | Path,
    *,
    task: str,
    recipe: TrainingRecipe | None = None,
    device: DeviceConfig | None = None,
    restart: bool = False,
    force: bool = False,
    report: Report = silent,
) -> dict[str, Any]:
    """Train an adapter on the conversations of one task, or of several together.

    A training that was stopped resumes from its last checkpoint when it is called again. Under
    `accelerate launch` every process calls it.

    After an error, only checkpoints were written.

    Args:
        base: The base model, a folder or Hub id.
        sources: The conversations of each task.
        output: The folder to write; it appears whole or not at all.
        task: A name for the tasks; independent starts of A depend on it.
        recipe: How the expert is trained.
        device: Where it is trained.
        restart: Discard an earlier training instead of resuming it.
        force: Replace an adapter in the folder.
        report: Called with every step that is logged, in the main process.

    Returns:
        The record, which is the content of training.json.
    """
    target = check_output(output, base, force=force)
    training = ConversationTraining(
        str(expand_user(base)),
        task,
        recipe or TrainingRecipe(),
        device or DeviceConfig(),
        TrainingSet.read(sources),
    )
    return training.run(target, restart=restart, force=force, report=report)


class ConversationTraining(ExpertTraining[TrainingRecipe]):
    """The training of an expert on conversations."""

    unit = "conversations"

    def __init__(
        self,
        base: str,
        task: str,
        recipe: TrainingRecipe,
        device: DeviceConfig,
        data: TrainingSet,
    ) -> None:
        """Check that all processes run the same layers, where the model is divided among them."""
        super().__init__(base, task, recipe, device, data.counts, data.files)
        self._data = data
        total = len(data.conversations)
        if device.sharded and 0 < data.texts < total:
            raise MergeError(
                f"{data.texts} of {total} conversations have no image, and FSDP or DeepSpeed's "
                "stage 3 wait forever for a process whose portion has none",
                where=next(each.where for each in data.conversations if each.image is None),
                hint="train with the whole model on every device, or remove these records",
            )

    @cached_property
    def encoder(self) -> ConversationEncoder:
        """The encoder of conversations."""
        return encoder_for(self.base, self.recipe)

    def choices(self) -> Mapping[str, Any]:
        """Return prompt, framing and length as the base decided them."""
        return {
            "prompt": "vicuna" if self.encoder.as_llava else "chat-template",
            "framing": "as-is" if self.encoder.mean is None else "pad",
            "max_length": self.encoder.max_length,
        }

    def trainer_arguments(self) -> Mapping[str, Any]:
        """Return that the projector is unused by portions without images."""
        unused = self._data.texts > 0 and self.recipe.projector == "trained"
        return {"weight_decay": 0.0, "ddp_find_unused_parameters": unused}

    def load(self, device: torch.device) -> PeftModel:
        """Load the base with an untrained adapter; the Trainer moves it to the device."""
        del device
        model = load_base(self.base, self.device.dtype(self.recipe.dtype))
        return with_lora(model, self.recipe, self.task)

    def trainer_options(self, portion: int) -> Mapping[str, Any]:
        """Return examples, collator, loss, and the projector's rate."""
        conversations = self._data.conversations
        return {
            "train_dataset": OrderedExamples(conversations, self.rows, portion, self.encoder),
            "data_collator": Collator(self.encoder.pad_token),
            "compute_loss_func": answer_loss,
            "projector_rate": self.recipe.projector_rate,
        }

    def card(self, record: Mapping[str, Any]) -> str:
        """Return the model card."""
        recipe, data = record["recipe"], record["data"]
        return model_card(
            record,
            f"""\
A LoRA of rank {recipe["rank"]} on all linear layers of the language model of {record["base"]}; the
projector is {recipe["projector"]}. Trained on {record["conversations_seen"]} conversations of
{", ".join(each["task"] for each in data)} in {record["steps"]} steps of {recipe["batch"]}, learning
rate {recipe["learning_rate"]:g} (projector {recipe["projector_rate"]:g}), format
{recipe["prompt"]}, seed {recipe["seed"]}, A {recipe["init"]}.""",
        )
