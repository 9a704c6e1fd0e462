r"""PEFT linear: sum the factors, not the updates.

    A = Σ_t ±√|w_t s_t| A_t        B = Σ_t √|w_t s_t| B_t        peft
    A = Σ_t w_t A_t                B = Σ_t w_t s_t B_t           lorahub

A_t and B_t are those of the adapter files here, s_t their scaling (alpha / r, or rsLoRA's), and ±
the sign of w_t s_t. The product of the sums holds every w_t Δ_t, and besides them the cross terms
of B_t with A_u of every other adapter, which belong to no task. It means something only where all A
are nearly equal, and it changes with the gauge: B_t G^-1 and G A_t are the same update and give
another result. The sum itself is `task-arithmetic`; this is here because many merges have been made
with it.

In flavor lorahub, as LoraHub and LoRAX do it, both factors get the weight, so that an update counts
w_t^2 times and a negative weight acts on cross terms only. The scaling is applied once.

PEFT refuses unequal ranks; smaller ones are padded with zero directions here. A module that is
missing in an adapter is a zero update, which PEFT leaves out, with the same result.

Source: PEFT, combination type linear; Huang et al., LoraHub, COLM 2024, arXiv:2307.13269, its
composition (its search for weights needs examples and is not part of this).
"""

from __future__ import annotations

from typing import Literal

from ...factors import Factors, Stack, Update, weighted_sum
from .._registry import method
from ..entrywise._entries import merge_entries


@method(
    "peft-linear",
    paper="PEFT, add_weighted_adapter; Huang et al., COLM 2024, arXiv:2307.13269",
    gauge_invariant=False,
    checked="PEFT's combination type linear; the worked example",
)
def peft_linear(stack: Stack, *, flavor: Literal["peft", "lorahub"] = "peft") -> Update:
    """Sum the factors.

    Args:
        stack: The module's updates.
        flavor: The root of weight and scaling on both factors, or the weight itself on both.
    """
    if flavor == "lorahub":
        padded = [f.pad(max(stack.ranks)) for f in stack.factors]
        return Factors(
            weighted_sum([f.A for f in padded], stack.weights),
            weighted_sum([f.B for f in padded], stack.weights),
        )
    return merge_entries(stack, "factor", lambda entries: lambda block: entries.total(block.x))
