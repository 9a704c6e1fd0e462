r"""Task polarization: make large updates larger and small ones smaller before the merge.

    Δ_t ← Δ_t (|Δ_t| / mean_s |Δ_s|)^exponent        in every module

How far a module moved is taken for how much the task needs it. It is the opposite of `norms`, which
draws the sizes together; an exponent of -1 makes them equal, so that both directions can be
compared with one step. The published exponent is 2: of two updates that differ in norm by a factor
of 3, one is then larger by 27. A scale rule afterwards separates this from the size of the merge.

Norms are those of the deltas, without weights, which are applied to the polarized updates. An
update that is zero stays so and does not count in the mean. The A's stay; the B's are scaled.

Cost: O((d_out + d_in) r^2) per adapter of rank r.

Source: ESM, CVPR 2026, arXiv:2602.20208, polarized scaling of tasks, as in its released code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from annotated_types import Interval

from ..factors import Stack
from ..linalg import norm
from ._registry import step

Exponent = Annotated[float, Interval(ge=-1, le=4)]


@step(
    "task-polarization",
    stage="balance",
    paper="ESM, CVPR 2026, arXiv:2602.20208",
    checked="the dense definition",
)
def task_polarization(stack: Stack, *, exponent: Exponent = 2.0) -> Stack:
    """Move the updates' norms away from each other.

    Args:
        stack: The module's updates.
        exponent: How far: 0 not at all, -1 to equal norms.
    """
    sizes = [norm(f) for f in stack.factors]
    nonzero = [size for size in sizes if size > 0]
    mean = sum(nonzero) / max(len(nonzero), 1)
    factors = [(size / mean) ** exponent if size > 0 else 1.0 for size in sizes]
    scaled = tuple(f.scaled(by) for f, by in zip(stack.factors, factors, strict=True))
    return replace(stack, factors=scaled)
