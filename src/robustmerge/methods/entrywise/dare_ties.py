r"""DARE-TIES: drop entries at random, elect a sign per entry, merge the entries that agree.

    τ̃_t = m_t ⊙ τ_t / p,   m_t = 1 with probability p, otherwise 0
    γ = sign(Σ_t τ̃_t)
    τ = Σ_t w_t τ̃_t [sign τ̃_t = γ] / number of t that agree

DARE's dropping takes the place of TIES' trimming; the methods `dare` and `ties` say more on either.
Flavor peft is the formula above. Flavor mergekit keeps the sum of magnitudes instead of dividing by
p, elects the sign with weights, and sums without a division. The DARE paper's own combination
drops and then trims as well, which is neither.

KnOTS merges language models by space knots with density 0.2 and scale 0.4.

Source: Yu et al., Language models are Super Mario, ICML 2024, arXiv:2311.03099; PEFT,
utils/merge_utils.py; mergekit, merge_methods/generalized_task_arithmetic.py.
"""

from __future__ import annotations

from ...errors import MergeError
from ...factors import Stack, Update
from .._registry import Density, method
from ._entries import GAUGE_INVARIANT, Entries, Rule, Space, merge_entries
from ._signs import Divisor, Elect, merge_agreeing
from .dare import Flavor, make_drop


@method(
    "dare-ties",
    paper="Yu et al., ICML 2024, arXiv:2311.03099 (as in PEFT and mergekit)",
    gauge_invariant=GAUGE_INVARIANT,
    order_invariant=False,
    checked="PEFT's combination types dare_ties and dare_ties_svd, and mergekit's dare_ties, "
    "fed the same masks",
)
def dare_ties(
    stack: Stack,
    *,
    density: Density = 0.5,
    space: Space = "factor",
    flavor: Flavor = "peft",
    elect: Elect = "total",
    seed: int = 0,
) -> Update:
    """Merge with random dropping and sign election.

    Args:
        stack: The module's updates.
        density: Probability that an entry is kept.
        space: Entries of A and of B, of the delta, of the cores, or as KnOTS aligns them.
        flavor: The tool to follow where tools disagree.
        elect: By the sum of the entries, or by the number of adapters (peft only).
        seed: Seed of the drops.
    """
    if flavor == "mergekit" and elect != "total":
        raise MergeError(
            "flavor mergekit elects by the total",
            where=f"method dare-ties, {stack.module}",
            hint="flavor=peft elects by frequency",
        )

    divisor: Divisor = "count" if flavor == "peft" else "nothing"

    def rule(entries: Entries) -> Rule:
        drop = make_drop(stack, entries, density, flavor, seed)
        return lambda block: merge_agreeing(entries, drop(block), divisor, elect=elect)

    return merge_entries(stack, space, rule, whole_rows=True)
