r"""OptMerge: WUDI on each update's leading directions, approached by a few steps of descent.

    minimize Σ_t ‖(Δ - T_t) X_t^T‖² / ‖Δ_t‖²         Δ_t the updates times their weights

X_t is the best part of Δ_t of rank k = min(d_out, d_in) / T, which leaves out its noise. The steps
are few and small: the result is near where they begin. Three versions were released:

    flavor         T_t                          X_t          start   steps
    lora           rank k of Δ_t                rank k       mean    300 of SGD, 1e-4, momentum 0.9
    modelcompose   rank k of Δ_t                Δ_t itself   mean    400 of SGD, 5e-2, momentum 0.9
    internvl       mean + rank k of Δ_t - mean  rank k       sum     300 of Adam, 1e-5

The first is the one for LoRA (in the authors' LLaMA-Factory tree): with Adam the norm of LoRA
merges grew without bound. ModelCompose has k = min(d_out, d_in) / 5 whatever T is, for which T is
taken. On adapters k is as a rule larger than their rank, and then cuts nothing.

SGD does the same in all orthonormal coordinates, so it is exact in the core; in the eigenvectors of
C = Σ_t X_t^T X_t / ‖Δ_t‖² it is one recurrence of numbers for each direction. Adam is none of that:
it runs on the full delta (see wudi). The released runs are in half precision, which these are not.
The authors scale the result afterwards: 0.2 for Qwen2-VL, 0.1 for InternVL.

Cost: O((d_out + d_in) R^2) for the sum of ranks R; with flavor internvl as wudi with solve adam.

Source: Wei et al., OptMerge, ICLR 2026, arXiv:2505.19892; the released code (MLLMerging).
"""

from __future__ import annotations

from functools import reduce
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from ...errors import MergeError
from ...factors import Stack, Update
from ...linalg import core
from .._registry import Cut, When, method
from ._interference import Interference, adam, norms, start_of

_MOMENTUM = 0.9
_OWN = {"lora": (300, 1e-4), "modelcompose": (400, 5e-2), "internvl": (300, 1e-5)}
"""Steps and step size of each flavor."""


@method(
    "optmerge",
    paper="Wei et al., ICLR 2026, arXiv:2505.19892",
    checked="torch's SGD and Adam on the published losses",
    gauge_invariant=True,
    scale_equivariant=When("flavor", "lora", "modelcompose"),
    cautions={
        When("flavor", "internvl"): "it runs through the full delta 300 times, minutes for a large "
        "module, and its steps are of one size however large the updates are"
    },
)
def optmerge(
    stack: Stack,
    *,
    flavor: Literal["lora", "modelcompose", "internvl"] = "lora",
    steps: Annotated[int, Interval(ge=0)] = 0,
    lr: Annotated[float, Interval(ge=0)] = 0.0,
    cut: Cut = "energy",
) -> Update:
    """Merge by steps towards the least interference.

    Args:
        stack: The module's updates.
        flavor: One of the released versions.
        steps: How many steps; 0 for as many as the flavor has.
        lr: Step size; 0 for that of the flavor.
        cut: At a lower rank, keep the most energy or the least objective (not internvl).
    """
    steps, lr = steps or _OWN[flavor][0], lr or _OWN[flavor][1]
    space = core(stack)
    M = space.weighted
    k = max(min(stack.shape) // len(stack), 1)
    mean = start_of(M, "mean")
    targets = mean + _leading(M - mean, k) if flavor == "internvl" else _leading(M, k)
    inputs = M if flavor == "modelcompose" else _leading(M, k)
    least = Interference.of(targets, inputs / norms(M))
    if flavor == "internvl":
        dtype = reduce(torch.promote_types, (f.A.dtype for f in stack.factors))
        return adam(space, least, steps=steps, lr=lr, dtype=dtype)
    f = _descent_filter(least.eigenvalues, steps, lr, stack.module)
    return least.lifted(space, mean, f, cut)


def _leading(M: Float[Tensor, "task p q"], k: int) -> Float[Tensor, "task p q"]:
    """Return the best approximations of rank k."""
    U, S, Vh = torch.linalg.svd(M, full_matrices=False)
    leading: Tensor = (U[..., :k] * S[:, None, :k]) @ Vh[:, :k]
    return leading


def _descent_filter(
    eigenvalues: Float[Tensor, " k"], steps: int, lr: float, where: str
) -> Float[Tensor, " k"]:
    """Return the part of the way that SGD with momentum goes in each direction.

    Raises:
        MergeError: steps so large that descent leaves the minimum.
    """
    # Heavy ball diverges where lr times the curvature, 2 λ, reaches 2 (1 + momentum).
    if len(eigenvalues) and lr * float(eigenvalues[0]) >= 1 + _MOMENTUM:
        raise MergeError(
            f"steps of size {lr:g} are too large: descent moves away from the minimum",
            where=where,
            hint=f"choose lr below {(1 + _MOMENTUM) / float(eigenvalues[0]):.2g}",
        )
    # The rest of the way in each eigenvector; all of it at first.
    left, velocity = torch.ones_like(eigenvalues), torch.zeros_like(eigenvalues)
    for _ in range(steps):
        velocity = _MOMENTUM * velocity + 2 * eigenvalues * left
        left = left - lr * velocity
    return 1 - left
