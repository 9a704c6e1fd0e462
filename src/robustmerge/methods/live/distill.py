r"""Distill: one LoRA trained by gradient steps on the adapters' own answers.

    loss = Σ_t w_t · mean over answer positions of KL(p_t ‖ q) / Σ_t w_t

p_t is adapter t's distribution on its own answers to its prompts, q the LoRA's. It starts at the
sum of the updates, made as large as they are on average, or at nothing. AdamW without decay; the
rate grows for 5 % of the steps and falls to zero in a line; gradients are clipped at norm 1. Every
tenth of the steps is compared on held-out prompts, and the best one kept.

It is the rival of RELAY on the same inputs: gradients and steps where RELAY solves in closed form.
After any other method, `--polish STEPS` is the same.

Source: distillation, Hinton et al., arXiv:1503.02531, of several adapters into one.
"""

from __future__ import annotations

from typing import Annotated, Literal, NoReturn

from annotated_types import Interval

from ...errors import MergeError
from ...factors import Stack
from .._registry import method


@method(
    "distill",
    paper="arXiv:1503.02531",
    checked="a dense definition of the loss, whatever the portions of a step",
    gauge_invariant=True,
    scale_equivariant=False,
    run="robustmerge.polish.method:DistillRun",
)
def distill(
    stack: Stack,
    *,
    start: Literal["task-arithmetic", "scratch"] = "task-arithmetic",
    steps: Annotated[int, Interval(ge=1)] = 300,
    rate: Annotated[float, Interval(ge=0, le=1)] = 0.0,
    prompts: Annotated[int, Interval(ge=1)] = 32,
    held_out: Annotated[int, Interval(ge=0)] = 8,
    batch: Annotated[int, Interval(ge=1)] = 16,
    longest: Annotated[int, Interval(ge=1)] = 128,
    precision: Literal["float32", "bfloat16"] = "float32",
    recompute: bool = False,
    seed: int = 0,
) -> NoReturn:
    """Distill the adapters into one LoRA.

    Args:
        stack: The module's updates.
        start: The sum of the updates in the size of one, or a new LoRA.
        steps: Gradient steps at most.
        rate: Highest learning rate; 0 stands for the smaller of 0.001 and 0.0064 / rank.
        prompts: Most samples of each file that are fitted, the first ones.
        held_out: Most samples after those, which decide when to stop.
        batch: Prompts of a step, as many of each task.
        longest: Most tokens of an answer.
        precision: The type that the model runs in; the LoRA is trained in float32.
        recompute: Compute activations twice rather than keep them.
        seed: For the order of prompts, and for a new LoRA.
    """
    raise MergeError(
        "distill is no function of one module's updates",
        where=stack.module,
        hint="robustmerge merge … --method distill --base MODEL --samples FILE.jsonl …",
    )
