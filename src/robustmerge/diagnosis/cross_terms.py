r"""What becomes of the adapters if their factors are merged apart.

    (Σ_s B_s) (Σ_t A_t) = Σ_t B_t A_t + Σ_{s ≠ t} B_s A_t = self + cross

Factor-wise methods (PEFT's linear and ties, RobustMerge's released code) build on such a product.
The self part is what one wants; the T² - T cross terms mean something only where the A's share an
initialization: with equal A's self + cross is T times self, a cosine of 1; with unrelated ones
cross has (T - 1) times the energy of self, a cosine of 1/√T.

    ratio    ‖cross‖² / ‖self‖²
    cosine   of self + cross and self
    gain     ⟨self + cross, self⟩ / ‖self‖², how much larger than a sum it is along the sum

All depend on the coordinates of the files (B_t G, G⁻¹ A_t are the same update and give other
figures), and so do the methods. Scalings are in B; unequal ranks are padded with zeros. The split
is that of the paper's formula against its code; the figures are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from .core_updates import CoreSpace, share, summed


@dataclass(frozen=True)
class CrossTerms:
    """One module's factors summed apart.

    Attributes:
        module: The module.
        ratio: Energy of the cross terms over that of the exact sum.
        cosine: Of the product of sums and the exact sum.
        gain: Size of the product of sums along the exact sum.
        weight: Energy of the exact sum.
    """

    module: str
    ratio: float | None
    cosine: float | None
    gain: float | None
    weight: float


def apart(module: str, space: CoreSpace) -> CrossTerms:
    """Compare the product of sums with the sum of products."""
    rank = max(task.factors.rank for task in space.tasks)
    padded = [task.factors.pad(rank) for task in space.tasks]
    both = summed([f.B for f in padded]) @ summed([f.A for f in padded])
    self_ = summed([task.delta for task in space.tasks])
    energy = float(self_.square().sum())
    inner = float((both * self_).sum())
    return CrossTerms(
        module,
        ratio=share(float((both - self_).square().sum()), energy),
        cosine=share(inner, energy**0.5 * float(both.norm())),
        gain=share(inner, energy),
        weight=energy,
    )
