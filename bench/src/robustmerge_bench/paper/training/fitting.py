"""transformers' Trainer for this recipe: the order, two learning rates, and the loss.

The loss of a step is the mean over the tokens of all its answers, whichever devices and portions
they are computed in, so that neither changes what is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from .batches import Collator, OrderedExamples
from .encoding import IGNORED
from .expert import LORA
from .place import DeviceConfig
from .recipe import DType, TrainingRecipe

LOGGED = 100  # times that the loss is told, at most


@runtime_checkable
class FitSettings(Protocol):
    """What every recipe says of a fit; see `recipe.Recipe`."""

    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def batch(self) -> int: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102
    @property
    def dtype(self) -> DType: ...  # noqa: D102


def arguments(
    recipe: TrainingRecipe, place: DeviceConfig, folder: Path, rows: int, *, texts: bool
) -> TrainingArguments:
    """What the Trainer is told.

    Args:
        recipe: The recipe.
        place: Where it runs.
        folder: Where checkpoints are kept.
        rows: Conversations seen, in all epochs.
        texts: Some conversations have no picture, and so no use for the projector.
    """
    return trainer_arguments(
        recipe,
        place,
        folder,
        portion=place.portion(recipe.batch),
        steps=recipe.steps(rows),
        num_train_epochs=1,  # the rows are of all epochs
        weight_decay=0.0,
        warmup_steps=recipe.warmup_steps(rows),
        label_names=["labels"],
        ddp_find_unused_parameters=texts and recipe.projector == "trained",
    )


def trainer_arguments(
    recipe: FitSettings, place: DeviceConfig, folder: Path, *, portion: int, steps: int, **more: Any
) -> TrainingArguments:
    """What the Trainer is told whatever is trained.

    Args:
        recipe: The recipe.
        place: Where it runs.
        folder: Where checkpoints are kept.
        portion: What one device takes at once.
        steps: How often the weights are changed.
        **more: What depends on what is trained.
    """
    args = TrainingArguments(
        output_dir=str(folder),
        use_cpu=not place.on_gpu,
        seed=recipe.seed,
        per_device_train_batch_size=portion,
        gradient_accumulation_steps=recipe.batch // portion // place.processes,
        average_tokens_across_devices=True,
        learning_rate=recipe.learning_rate,
        max_grad_norm=1.0,
        lr_scheduler_type="cosine",
        optim="adamw_torch",
        bf16=place.computes_in(recipe.dtype) == torch.bfloat16,
        logging_steps=max(1, steps // LOGGED),
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=place.save_every,
        save_total_limit=2,  # one is whole while the other is written
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=place.readers,
        dataloader_pin_memory=place.on_gpu,
        **recomputing(place),
        **more,
    )
    # Several GPUs are for several processes; one would copy the model to all of them every step.
    args._n_gpu = min(1, args.n_gpu)
    return args


def recomputing(place: DeviceConfig) -> dict[str, Any]:
    """What the Trainer is told about activations that are computed twice."""
    known = {field.name for field in fields(TrainingArguments)}
    again = "activation" if "activation_checkpointing" in known else "gradient"
    return {
        f"{again}_checkpointing": place.gradient_checkpointing,
        f"{again}_checkpointing_kwargs": {"use_reentrant": False},
    }


class OrderedTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """The Trainer, on examples that are in their order already, and printing nothing."""

    def __init__(self, **given: Any) -> None:
        """Keep what the Trainer is given."""
        super().__init__(**given)
        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        # One order, the same for any number of devices.
        return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)


class ExpertTrainer(OrderedTrainer):
    """The Trainer, with the recipe's order, rates and loss."""

    def __init__(
        self,
        model: PeftModel,
        recipe: TrainingRecipe,
        args: TrainingArguments,
        examples: OrderedExamples,
        pad_token: int,
        callbacks: Sequence[TrainerCallback],
    ) -> None:
        """Keep what is needed.

        Args:
            model: The base with a LoRA.
            recipe: The recipe.
            args: From `arguments`.
            examples: In the order in which they are seen.
            pad_token: What sequences are filled up with.
            callbacks: What else happens after steps.
        """
        super().__init__(
            model=model,
            args=args,
            train_dataset=examples,
            data_collator=Collator(pad_token),
            compute_loss_func=answer_loss,
            callbacks=list(callbacks),
        )
        self.optimizer: Any
        self._projector_rate = recipe.projector_rate

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW at two rates: one for the LoRA, one for what is trained whole."""
        if self.optimizer is None:
            model = self.model if model is None else model
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = kind(two_rates(model, self._projector_rate), **options)
        made: torch.optim.Optimizer = self.optimizer
        return made


def two_rates(model: nn.Module, projector_rate: float) -> list[dict[str, Any]]:
    """Groups of an optimizer: the LoRA at the optimizer's rate, what is trained whole at its own.

    Neither decays.
    """
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    lora = {"params": [weight for name, weight in trained if LORA in name]}
    whole = {"params": [weight for name, weight in trained if LORA not in name]}
    groups: list[dict[str, Any]] = [lora, whole | {"lr": projector_rate}]
    return [group | {"weight_decay": 0.0} for group in groups if group["params"]]


def answer_loss(
    outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """Cross entropy of the answers' tokens, summed, over the number of these in the whole step."""
    targets = labels[:, 1:]
    learned = targets != IGNORED
    logits = outputs.logits[:, :-1][learned].float()
    total = cross_entropy(logits, targets[learned], reduction="sum")
    count = learned.sum() if num_items_in_batch is None else num_items_in_batch
    return total / count
