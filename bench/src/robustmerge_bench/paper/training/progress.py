"""What a training tells while it goes on, and a loss that is none."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from robustmerge.errors import MergeError


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training is.

    Attributes:
        done: Steps done.
        todo: Steps in all.
        loss: Mean over the steps since the last one that was told, in nats a token.
        rate: The LoRA's learning rate.
        left: Seconds left, as it seems.
    """

    done: int
    todo: int
    loss: float
    rate: float
    left: float


Told = Callable[[TrainingProgress], None]


def silent(step: TrainingProgress) -> None:
    """Tell nothing."""


class ProgressReporter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Tells of losses as the Trainer logs them, in the main process."""

    def __init__(self, told: Told) -> None:
        """Keep whom to tell."""
        self._told = told
        self._start = (0, 0.0)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Note where and when it begins."""
        del args, control
        self._start = state.global_step, time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Tell of the loss.

        Raises:
            MergeError: It is no number.
        """
        del args, control
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise MergeError(
                f"the loss is {loss} at step {state.global_step}",
                where="training",
                hint="a lower --learning-rate, or --dtype float32; --restart to begin anew",
            )
        if state.is_world_process_zero:
            first, began = self._start
            done, todo = state.global_step, state.max_steps
            each = (time.monotonic() - began) / max(1, done - first)
            self._told(
                TrainingProgress(
                    done, todo, loss, float(logs.get("learning_rate", 0)), each * (todo - done)
                )
            )


def losses(state: TrainerState) -> list[list[int | float]]:
    """Every step that was told, with its loss; of the whole training, stops or not."""
    return [
        [entry["step"], round(entry["loss"], 6)] for entry in state.log_history if "loss" in entry
    ]
