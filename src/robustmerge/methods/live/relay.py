r"""RELAY: in one walk through the model, every module makes up for what the merge broke before it.

    x_i    the merged model's input of a module, at token i of an adapter's prompts with its answers
    y_i    what the module gives in the adapter's own run; of one that writes to the residual
           stream, the adapter's stream after it less the merged stream before it
    r_i    = y_i - W0 x_i
    Δ      = argmin Σ_i c_i ‖r_i - Δ x_i‖² + λ ‖Δ‖²  at the output's rank, in closed form

Module by module, each put into the merged model before the next is solved. It needs the base and
a few prompts for every adapter, without answers: the adapters answer by themselves. c_i says how
much token i acts on the answer: `fisher` from gradients of randomly weighted logits, `masses` from
shares for groups of tokens. There are no steps, and no scale to choose; the rank has to be known
before.

Linear modules of vision tower and connector come first, in the same way. The head, embeddings and
modules that do not get every token are merged by `drift` from the adapters alone, with a remark.

It merges by distinguishing tasks by their prompts: prompts of another task ruin it, and so do two
tasks with the same prompts. The report has the share of each adapter's divergence from the base
that is left on prompts that were held out.

Source: this package; docs/ours-relay.md has formulas, measurements and limits.
"""

from __future__ import annotations

from typing import Annotated, Literal, NoReturn

from annotated_types import Interval

from ...errors import MergeError
from ...factors import Stack
from .._registry import method


@method(
    "relay",
    paper="this package",
    checked="dense ridge regression, descent at every rank, and the model's own passes",
    gauge_invariant=True,
    scale_equivariant=False,
    run="robustmerge.prompted.relay:RelayRun",
    live_run="robustmerge.prompted.live:LiveRelayRun",
)
def relay(
    stack: Stack,
    *,
    prompts: Annotated[int, Interval(ge=1)] = 32,
    held_out: Annotated[int, Interval(ge=0)] = 8,
    token_weights: Literal["fisher", "masses"] = "fisher",
    draws: Annotated[int, Interval(ge=1)] = 2,
    ridge: Annotated[float, Interval(ge=0)] = 0.0,
    answers: Literal["own", "samples"] = "own",
    longest: Annotated[int, Interval(ge=1)] = 128,
    images: Literal["samples", "noise"] = "samples",
    precision: Literal["float32", "bfloat16"] = "float32",
    offload: bool = False,
    activations: Literal["host", "disk"] = "host",
    seed: int = 0,
) -> NoReturn:
    """Merge by one walk through the model.

    Args:
        stack: The module's updates.
        prompts: Most samples of each file that the merge is made from, the first ones.
        held_out: Most samples after those that only measure the result.
        token_weights: How tokens are weighted: fisher needs gradients, masses does not.
        draws: Random weightings of the logits, for fisher.
        ridge: As a share of the mean eigenvalue of the inputs' moments; 0 stands for the larger of
            0.001 and 0.03 / prompts.
        answers: The adapters' own, or those of the samples where they have one.
        longest: Most tokens of an answer.
        images: Those of the samples, or noise of the same size.
        precision: The type that the model runs in.
        offload: Keep the model on the host, one block at a time on the device.
        activations: Where hidden states are between two blocks: in memory, or in memory-mapped
            files in the folder for unfinished work (--work), with the same bytes.
        seed: For fisher's weightings and for noise.
    """
    raise MergeError(
        "relay is no function of one module's updates",
        where=stack.module,
        hint="robustmerge merge … --method relay --base MODEL --samples FILE.jsonl …",
    )
