r"""Layer polarization: make layers that the merge changes much stronger, and the others weaker.

    Δ_l ← Δ_l (|Δ_l| / mean_k |Δ_k|)^exponent        k: the modules of the same kind, in all layers

Modules are of one kind if their names differ by the number of the layer only, as q_proj of layer 3
and of layer 7; the vision tower's are a kind of their own. The published exponent is 2; -1 makes
the norms of a kind equal. Other methods even out what layers do, this step does the opposite, and
which is right for given adapters is a question for a benchmark: compare at one scale rule, as the
step also changes the size of the whole merge.

Norms are those of the merged updates, after the calibrate steps before this one. They take a pass
over all modules, in which everything up to here is computed once more.

Cost: O((d_out + d_in) R^2) for rank R of the merge, and that pass.

Source: ESM, CVPR 2026, arXiv:2602.20208, polarized scaling of layers, as in its released code.
"""

from __future__ import annotations

from ..depth import kind_of
from ..errors import MergeError
from ..factors import Stack, Update
from ..linalg import norm
from ._registry import Surveyed, step
from .task_polarization import Exponent


def _size(update: Update, stack: Stack) -> float:
    """Return the norm of a merged update."""
    return norm(update)


@step(
    "layer-polarization",
    stage="calibrate",
    paper="ESM, CVPR 2026, arXiv:2602.20208",
    checked="the dense definition on a whole model",
    measure=_size,
)
def layer_polarization(
    update: Update, stack: Stack, *, exponent: Exponent = 2.0, surveyed: Surveyed | None = None
) -> Update:
    """Move the norms of one kind of modules away from each other.

    Args:
        update: The merged update.
        stack: What it was merged from; its module says of what kind it is.
        exponent: How far: 0 not at all, -1 to equal norms.
        surveyed: The norms of all modules.
    """
    if surveyed is None:
        raise MergeError(
            "layer-polarization looks at the whole model, and this is one module",
            where=stack.module,
            hint="merge whole adapters, or merge without this step",
        )
    kind = kind_of(stack.module)
    sizes = [size for name, size in surveyed.items() if kind_of(name) == kind]
    size, mean = surveyed[stack.module], sum(sizes) / len(sizes)
    return update.scaled((size / mean) ** exponent) if size > 0 else update
