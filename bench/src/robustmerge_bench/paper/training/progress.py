"""Progress of a training while it runs, and the check that its loss is finite."""

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
        todo: Steps in all.
        loss: Mean over the steps since the last report, in nats per token or image.
        rate: The LoRA's learning rate.
        left: Estimated seconds left.
    """

    done: int
    todo: int
    loss: float
    rate: float
    left: float


Report = Callable[[TrainingProgress], None]


def silent(progress: TrainingProgress) -> None:
    """Report nothing."""


class ProgressReporter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Reports losses as the Trainer logs them, in the main process."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._start = (0, 0.0)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Record the first step and the time."""
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
        """Report the loss."""
        del args, control
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise MergeError(
                f"the loss is {loss} at step {state.global_step}",
                where="training",
                hint="a lower --learning-rate, or --dtype float32; --restart to begin again",
            )
        if state.is_world_process_zero:
            first, start = self._start
            done, todo = state.global_step, state.max_steps
            each = (time.monotonic() - start) / max(1, done - first)
            rate = float(logs.get("learning_rate", 0))
            self._report(TrainingProgress(done, todo, loss, rate, each * (todo - done)))


def losses(state: TrainerState) -> list[list[int | float]]:
    """Return every logged step with its loss, of the whole training, interrupted or not."""
    return [
        [entry["step"], round(entry["loss"], 6)] for entry in state.log_history if "loss" in entry
    ]
