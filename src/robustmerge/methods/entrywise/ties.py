r"""TIES: trim each adapter to its largest entries, elect signs, average the entries that agree.

    τ̂_t = the largest entries of τ_t
    γ = sign(Σ_t τ̂_t)
    τ = Σ_t w_t τ̂_t [sign τ̂_t = γ] / number of t that agree

Small entries and minority signs are what makes adapters cancel out in a sum; both are left out. τ
are the entries of A and those of B, each merged for itself, or those of another space. Tools
disagree on the details; `flavor` chooses:

    flavor     trims              weights                            divides by
    peft       each tensor        multiply the entries, not votes    number that agree
    paper      the whole model    none                               number that agree
    mergekit   each tensor        multiply entries and votes         weights that agree

Of n entries int(n density) are kept, with flavor paper one more, as in the released code, and with
flavor mergekit at least one; equal magnitudes at the threshold are all kept (PEFT and mergekit pick
some). A draw counts as +, with flavor paper as the sign that most entries of the model have. In
factor space weights and scalings go to A and B by their roots, and trimming is at each adapter's
own rank; flavor paper trims the A of all modules as one vector and the B as another. Flavors paper
and mergekit are their authors' arithmetic on deltas, carried over to factors whose scalings are
folded in. Negative weights, by which mergekit divides too, flavor mergekit refuses.

KnOTS merges vision adapters by space knots with flavor paper, density 0.2 and scale 0.6. Core Space
trims per module: space core-paper, or core, which is the same in any gauge.

Source: Yadav et al., TIES-Merging, NeurIPS 2023, arXiv:2306.01708; PEFT, utils/merge_utils.py;
mergekit, merge_methods/generalized_task_arithmetic.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import MergeError
from ...factors import Stack, Update
from .._registry import Density, method
from ._entries import GAUGE_INVARIANT, Blocks, Entries, EntryBlock, Rule, Space, merge_entries
from ._signs import Elect, majority, merge_agreeing
from ._survey import check_surveyed, make_survey
from ._trim import floors, trim

Flavor = Literal["peft", "paper", "mergekit"]
Thresholds = tuple[Float[Tensor, "task 1 1"], float]
"""Where to trim each adapter, and the sign that wins a draw."""


def _check(stack: Stack, settings: Mapping[str, Any]) -> None:
    flavor, elect = settings["flavor"], settings["elect"]
    weights, problem = list(stack.weights), ""
    if flavor != "peft" and elect != "total":
        problem = f"flavor={flavor} elects by the total, not by {elect}"
    elif flavor == "paper" and set(weights) != {1}:
        problem = f"flavor=paper knows no weights, and these are {weights}"
    elif flavor == "mergekit" and min(weights) < 0:
        problem = f"flavor=mergekit divides by weights, which must not be negative as in {weights}"
    if problem:
        raise MergeError(problem, where=stack.module, hint="flavor=peft can do that")


def _thresholds(blocks: Blocks, settings: Mapping[str, Any]) -> Thresholds:
    floor = floors(blocks, settings["density"], extra=1)

    def balance(own: Iterator[EntryBlock]) -> float:
        signs = (majority(trim(block, floor)) for block in own)
        return sum(sign.sum(dtype=torch.float64).item() for sign in signs)

    return floor, 1.0 if sum(blocks.each(balance)) > 0 else -1.0


@method(
    "ties",
    paper="Yadav et al., NeurIPS 2023, arXiv:2306.01708",
    gauge_invariant=GAUGE_INVARIANT,
    checked="PEFT's combination types ties and ties_svd; mergekit's ties; the paper's "
    "released arithmetic",
    survey=make_survey("flavor", "paper", _thresholds, _check),
)
def ties(
    stack: Stack,
    *,
    density: Density = 0.2,
    space: Space = "factor",
    flavor: Flavor = "peft",
    elect: Elect = "total",
    surveyed: Mapping[str, Thresholds] | None = None,
) -> Update:
    """Merge with trimming and sign election.

    Args:
        stack: The module's updates.
        density: Share of entries that is kept, largest first.
        space: Entries of A and of B, of the delta, of the cores, or as KnOTS aligns them.
        flavor: The tool to follow where tools disagree.
        elect: By the sum of the entries, or by the number of adapters (peft only).
        surveyed: Thresholds over the whole model.
    """
    _check(stack, {"flavor": flavor, "elect": elect})
    check_surveyed(stack, surveyed, flavor == "paper", "flavor=paper")

    mergekit = flavor == "mergekit"
    own = partial(floors, density=density, least=int(mergekit))

    def rule(entries: Entries) -> Rule:
        floor, draw = surveyed[entries.name] if surveyed else (own(entries.blocks), 1.0)
        return lambda block: merge_agreeing(
            entries,
            trim(block, floor),
            "weights" if mergekit else "count",
            elect=elect,
            draw=draw,
        )

    return merge_entries(stack, space, rule, folded=flavor != "peft")
