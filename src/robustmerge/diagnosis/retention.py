r"""Retention: how much of each adapter's update a merge keeps.

    coefficient   ⟨Δ, Δ_t⟩ / ‖Δ_t‖²: 1 for a sum of orthogonal updates, 1/T for their mean
    cosine        ⟨Δ, Δ_t⟩ / ‖Δ‖ ‖Δ_t‖
    inputs        share of ‖Δ_t‖² within the merge's input space
    outputs       share of ‖Δ_t‖² within the merge's output space
    both          share of ‖Δ_t‖² within both: the most that rescaling the merge's directions could
                  recover

Δ is the merged update. None of them depends on which singular vectors correspond, so they are
defined where singular values repeat, too. The coefficient is that of least squares. That the shares
of a task's subspaces predict its accuracy after a merge is the observation of Iso-C
(arXiv:2502.04959), whose ratio is of column spaces. For an adapter whose update is zero: None.
"""

from __future__ import annotations

from dataclasses import dataclass

from .core_updates import CoreUpdate, share


@dataclass(frozen=True)
class Retention:
    """How much of one adapter a merge keeps in one module.

    Attributes:
        module: The module.
        adapter: The adapter.
        merged: The merge.
        coefficient: Coefficient of the adapter's update in the merged one.
        cosine: Cosine of the two updates.
        inputs: Share of the adapter's energy in the merge's input space.
        outputs: Share in its output space.
        both: Share in both spaces.
        weight: Energy of the adapter's update.
    """

    module: str
    adapter: str
    merged: str
    coefficient: float | None
    cosine: float | None
    inputs: float | None
    outputs: float | None
    both: float | None
    weight: float


def measure_retention(
    module: str, adapter: str, merge: str, task: CoreUpdate, merged: CoreUpdate
) -> Retention:
    """Compare an adapter's update with a merged one."""
    U, V = merged.svd.U, merged.svd.Vh.T
    inner = float((merged.delta * task.delta).sum())
    return Retention(
        module,
        adapter,
        merge,
        coefficient=share(inner, task.energy),
        cosine=share(inner, (task.energy * merged.energy) ** 0.5),
        inputs=share(float((task.delta @ V).square().sum()), task.energy),
        outputs=share(float((U.T @ task.delta).square().sum()), task.energy),
        both=share(float((U.T @ task.delta @ V).square().sum()), task.energy),
        weight=task.energy,
    )
