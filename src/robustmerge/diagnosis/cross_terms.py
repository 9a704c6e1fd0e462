r"""Cross terms: what merging A's and B's separately adds to the exact sum of updates.

    (Σ_s B_s) (Σ_t A_t) = Σ_t B_t A_t + Σ_{s ≠ t} B_s A_t = self + cross

Factor-wise methods (PEFT's linear and ties, RobustMerge's released code) build on such a product.
The self part is the exact sum. The T² - T cross terms are harmless only where the A's share an
initialization: with equal A's self + cross is T times self, a cosine of 1; with unrelated A's cross
has (T - 1) times the energy of self, a cosine of 1/√T.

    ratio    ‖cross‖² / ‖self‖²
    cosine   of self + cross and self
    gain     ⟨self + cross, self⟩ / ‖self‖², the size along the exact sum

All of them depend on the coordinates of the files (B_t G, G⁻¹ A_t are the same update and give
other figures), and so do the methods. Scalings are in B; unequal ranks are padded with zeros. The
split separates the paper's formula from its code; the figures are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from .core_updates import CoreSpace, add, share


@dataclass(frozen=True)
class CrossTerms:
    """Cross terms of one module.

    Attributes:
        module: The module.
        ratio: Energy of the cross terms over energy of the exact sum.
        cosine: Cosine of the product of sums with the exact sum.
        gain: Size of the product of sums along the exact sum, in units of its norm.
        weight: Energy of the exact sum.
    """

    module: str
    ratio: float | None
    cosine: float | None
    gain: float | None
    weight: float


def measure_cross_terms(module: str, space: CoreSpace) -> CrossTerms:
    """Compare the product of summed factors with the exact sum of updates."""
    rank = max(task.factors.rank for task in space.tasks)
    padded = [task.factors.pad(rank) for task in space.tasks]
    product = add([f.B for f in padded]) @ add([f.A for f in padded])  # self + cross, [R, R]
    exact = add([task.delta for task in space.tasks])  # self
    energy = float(exact.square().sum())
    inner = float((product * exact).sum())
    return CrossTerms(
        module,
        ratio=share(float((product - exact).square().sum()), energy),
        cosine=share(inner, energy**0.5 * float(product.norm())),
        gain=share(inner, energy),
        weight=energy,
    )
