"""Training for any stage: Muon and AdamW, several processes, on from where it was stopped.

On a CPU two processes of one thread each are faster than one of two threads: they meet once a step,
to average the gradients, and not at every small operation.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.random import Generator
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn


@dataclass(frozen=True)
class WorkerInfo:
    """Where a process works: its number, how many there are, and the device."""

    rank: int = 0
    workers: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class TrainingSchedule:
    """How long and how fast to learn.

    Attributes:
        steps: Updates of the weights.
        rate: Learning rate at its highest; it warms up, then falls to nothing along a cosine.
        warmup: Share of the steps until the highest rate.
        muon: Orthogonalized updates for the matrices inside layers, which take half the steps.
        decay: Weight decay.
        slow: Parameters with this in their names learn at a tenth of the rate.
    """

    steps: int
    rate: float
    warmup: float = 0.03
    muon: bool = True
    decay: float = 0.0
    slow: str | None = None

    def share(self, step: int) -> float:
        """The learning rate at a step, as a share of the highest."""
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))


Loss = Callable[[Generator], Tensor]
Told = Callable[[int, float], None]


def quiet() -> None:
    """Keep transformers from telling of files that are read and written."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def side_by_side(work: Callable[..., None], place: WorkerInfo, *arguments: object) -> None:
    """Run `work(place, *arguments)` in as many processes as there are workers."""
    if place.workers == 1:
        work(place, *arguments)
        return
    port = str(20000 + os.getpid() % 20000)
    spawn(_one_of_many, (work, place, port, arguments), place.workers)  # type: ignore[no-untyped-call]


def _one_of_many(
    rank: int,
    work: Callable[..., None],
    place: WorkerInfo,
    port: str,
    arguments: tuple[object, ...],
) -> None:
    torch.set_num_threads(1)
    quiet()
    distributed.init_process_group(
        "gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=place.workers
    )
    work(WorkerInfo(rank, place.workers, place.device), *arguments)
    distributed.destroy_process_group()


def fit(
    module: nn.Module,
    loss: Loss,
    plan: TrainingSchedule,
    *,
    seed: tuple[int, ...],
    place: WorkerInfo,
    told: Told,
    checkpoint: Path | None = None,
    every: int = 200,
) -> None:
    """Train the parameters of a module that are not frozen.

    What a step draws depends on the seed, the step and the worker only, so that a run that was
    stopped and one that was not draw the same.

    Args:
        module: Holds the parameters.
        loss: The mean loss on this worker's share of the next batch.
        plan: How long and how fast.
        seed: Of the draws.
        place: Where this process works.
        told: Called after every step with its number and the loss.
        checkpoint: Where the state is kept while this goes on.
        every: Steps between two states that are kept.
    """
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    optimizers = make_optimizers(module, plan)
    start = 0
    if checkpoint is not None and checkpoint.exists():
        state = torch.load(checkpoint, map_location=place.device, weights_only=True)
        module.load_state_dict(state["module"])
        for optimizer, held in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(held)
        start = state["step"]
    for step in range(start, plan.steps):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = plan.rate * plan.share(step) * group["share"]
        value = loss(np.random.default_rng([*seed, step, place.rank]))
        value.backward()  # type: ignore[no-untyped-call]
        average_gradients(weights, place)
        nn.utils.clip_grad_norm_(weights, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if place.rank == 0:
            told(step + 1, float(value.detach()))
            if checkpoint is not None and (step + 1) % every == 0:
                keep(checkpoint, module, optimizers, step + 1)


def keep(
    checkpoint: Path, module: nn.Module, optimizers: list[torch.optim.Optimizer], step: int
) -> None:
    """Write the state of a run; a kill leaves the one before."""
    states = [optimizer.state_dict() for optimizer in optimizers]
    write_state({"module": module.state_dict(), "optimizers": states, "step": step}, checkpoint)


def write_state(state: dict[str, object], path: Path) -> None:
    """Save a state whole or not at all."""
    new = path.with_suffix(".new")
    torch.save(state, new)
    new.replace(path)


def make_optimizers(module: nn.Module, plan: TrainingSchedule) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside layers, AdamW for everything else."""
    matrices: list[nn.Parameter] = []
    slow: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            inside = plan.muon and weight.ndim == 2 and ".layers." in name
            late = plan.slow is not None and plan.slow in name
            (matrices if inside else slow if late else others).append(weight)
    made: list[torch.optim.Optimizer] = []
    if matrices:
        group = {"params": matrices, "share": 1.0}
        muon = torch.optim.Muon(
            [group], plan.rate, weight_decay=plan.decay, adjust_lr_fn="match_rms_adamw"
        )
        made.append(muon)
    groups = [{"params": others, "share": 1.0}, {"params": slow, "share": 0.1}]
    if groups := [group for group in groups if group["params"]]:
        betas = (0.9, 0.95)
        made.append(torch.optim.AdamW(groups, plan.rate, betas, weight_decay=plan.decay))
    return made


def average_gradients(weights: list[nn.Parameter], place: WorkerInfo) -> None:
    """Make every worker's gradients the mean of all."""
    if place.workers == 1:
        return
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= place.workers
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def teller(title: str, steps: int, every: int = 100) -> Told:
    """Say now and then how far a stage is."""
    start = time.monotonic()
    recent: list[float] = []

    def told(step: int, loss: float) -> None:
        recent.append(loss)
        if step % every == 0 or step == steps:
            mean = sum(recent) / len(recent)
            recent.clear()
            took = time.monotonic() - start
            line = f"{title}: step {step} of {steps}, loss {mean:.3f}, {took:.0f} s"
            print(line, file=sys.stderr, flush=True)

    return told
