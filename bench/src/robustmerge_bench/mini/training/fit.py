"""The training loop of every stage: Muon and AdamW, several processes, resumption.

The processes find one another through accelerate. On a CPU two processes of one thread each are
faster than one of two threads: they synchronize once per step, to average the gradients, and not at
every small operation. The loop is not transformers' Trainer, which has one optimizer and averages
gradients in another order than the published weights were trained with.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import reduce
from numpy.random import Generator
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from robustmerge.errors import MergeError

from ...quiet import quiet


@dataclass(frozen=True)
class TrainingSchedule:
    """Length and rates of a training.

    Attributes:
        steps: Updates of the weights.
        rate: Highest learning rate; it warms up, then falls to zero along a cosine.
        warmup: Share of the steps until the highest rate.
        muon: Orthogonalized updates for the matrices inside layers, which take half the steps.
        slow: Parameters with this in their names have a tenth of the rate.
        stop: The step after which the training ends, if that is before the rate is down to zero.
    """

    steps: int
    rate: float
    warmup: float = 0.03
    muon: bool = True
    decay: float = 0.0
    slow: str | None = None
    stop: int | None = None

    @property
    def last(self) -> int:
        """The step after which the training ends."""
        return self.steps if self.stop is None else self.stop

    def share(self, step: int) -> float:
        """Return the learning rate at a step, as a share of the highest."""
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))


Loss = Callable[[Generator], Tensor]
Report = Callable[[int, float], None]


def run_workers(work: Callable[..., None], workers: int, *arguments: object) -> None:
    """Run `work(*arguments)` in several processes of one thread, or in this one alone."""
    if workers == 1:
        work(*arguments)
        return
    port = 20000 + os.getpid() % 20000  # another one for every training on the machine
    spawn(_worker, (workers, port, work, arguments), workers)  # type: ignore[no-untyped-call]


def _worker(
    rank: int, workers: int, port: int, work: Callable[..., None], arguments: tuple[object, ...]
) -> None:
    group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": workers, "LOCAL_WORLD_SIZE": workers}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    os.environ.update({name: str(value) for name, value in {**group, **address}.items()})
    torch.set_num_threads(1)
    state = PartialState(cpu=True)
    with quiet():
        work(*arguments)
    state.destroy_process_group()


def fit(
    module: nn.Module,
    loss: Loss,
    plan: TrainingSchedule,
    *,
    seed: tuple[int, ...],
    report: Report,
    device: str = "cpu",
    checkpoint: Path | None = None,
    every: int = 200,
    seconds: float = math.inf,
) -> int:
    """Train the parameters of a module that are not frozen.

    The random numbers of a step depend on the seed, the step and the worker only, so an interrupted
    training ends with the same weights as an uninterrupted one.

    Returns the step that was reached: the last one, or one after which `seconds` were over.

    The loss is the mean over this worker's share of the next batch. The main process reports every
    step's number and loss. The file `checkpoint` holds the state during the training; it is written
    after every so many steps, and at the end.

    Raises:
        MergeError: another number of workers has written it before the training's end
    """
    state = PartialState(cpu=device == "cpu")
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    optimizers = make_optimizers(module, plan)
    start, begin = 0, time.monotonic()
    if checkpoint is not None and checkpoint.exists():
        saved = read_state(checkpoint, state.num_processes, plan.last, device)
        module.load_state_dict(saved["module"])
        for optimizer, held in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(held)
        start = saved["step"]
    for step in range(start, plan.last):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = plan.rate * plan.share(step) * group["share"]
        value = loss(np.random.default_rng([*seed, step, state.process_index]))
        value.backward()  # type: ignore[no-untyped-call]
        if state.num_processes > 1:
            average_gradients(weights)
        nn.utils.clip_grad_norm_(weights, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        late = seconds < math.inf and any_process(time.monotonic() - begin > seconds)
        if state.is_main_process:
            report(step + 1, float(value.detach()))
            due = (step + 1) % every == 0 or step + 1 == plan.last or late
            if checkpoint is not None and due:
                written = {
                    "module": module.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                    "step": step + 1,
                    "workers": state.num_processes,
                }
                write_state(written, checkpoint)
        if late:
            return step + 1
    return plan.last


def share_of(batch: int) -> int:
    """Return how many examples of a batch are this process's."""
    return batch // int(PartialState().num_processes)


def any_process(here: bool) -> bool:
    """Return whether something holds in any of the processes."""
    state = PartialState()
    if state.num_processes == 1:
        return here
    return bool(reduce(torch.tensor(float(here), device=state.device), "sum") > 0)


def read_state(path: Path, workers: int, last: int, device: str = "cpu") -> dict[str, Any]:
    """Read the state of a training that was stopped, to go on with it.

    States of earlier versions do not say how many workers they are of.

    Raises:
        MergeError: the training is not at its end, and another number of workers began it
    """
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    before = state.get("workers", workers)
    if before != workers and state["step"] < last:
        raise MergeError(
            f"begun with --workers {before}; with --workers {workers} other items are drawn",
            where=str(path),
            hint=f"go on with --workers {before}, or remove the file to begin again",
        )
    return state


def check_states(states: Mapping[Path, int], workers: int) -> None:
    """Check that so many workers can go on, before they start: their errors are tracebacks.

    Args:
        states: Files of states, which may be missing, and the last steps of their trainings.
        workers: How many there are.

    Raises:
        MergeError: another number of workers began a training that is not at its end
    """
    for path, last in states.items():
        if path.is_file():
            read_state(path, workers, last)


def write_state(state: dict[str, object], path: Path) -> None:
    """Save a state whole or not at all."""
    new = path.with_suffix(".new")
    torch.save(state, new)
    new.replace(path)


def make_optimizers(module: nn.Module, plan: TrainingSchedule) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside layers, and AdamW for all other parameters."""
    matrices: list[nn.Parameter] = []
    slow: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            inside = plan.muon and weight.ndim == 2 and ".layers." in name
            late = plan.slow is not None and plan.slow in name
            (matrices if inside else slow if late else others).append(weight)
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        group = {"params": matrices, "share": 1.0}
        muon = torch.optim.Muon(
            [group], plan.rate, weight_decay=plan.decay, adjust_lr_fn="match_rms_adamw"
        )
        optimizers.append(muon)
    groups = [{"params": others, "share": 1.0}, {"params": slow, "share": 0.1}]
    if groups := [group for group in groups if group["params"]]:
        betas = (0.9, 0.95)
        optimizers.append(torch.optim.AdamW(groups, plan.rate, betas, weight_decay=plan.decay))
    return optimizers


def average_gradients(weights: list[nn.Parameter]) -> None:
    """Replace every worker's gradients by the mean over all, in one exchange."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    mean = reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    parts = torch.split(mean, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def print_progress(title: str, steps: int, every: int = 100) -> Report:
    """Return a report that prints the mean loss on stderr every so many steps."""
    start = time.monotonic()
    recent: list[float] = []

    def report(step: int, loss: float) -> None:
        recent.append(loss)
        if step % every == 0 or step == steps:
            mean = sum(recent) / len(recent)
            recent.clear()
            seconds = time.monotonic() - start
            line = f"{title}: step {step} of {steps}, loss {mean:.3f}, {seconds:.0f} s"
            print(line, file=sys.stderr, flush=True)

    return report
