"""Sums of several adapters' updates with coefficients: one module's factors, in three forms.

    adapters     Σ_t c_t B_t A_t                             NSC
    units        Σ_t Σ_i c_ti b_ti a_tiᵀ                     TARA, variant A
    directions   [Δ_1 … Δ_T] = U S [V_1ᵀ … V_Tᵀ],
                 U S Σ_t diag(c_t) V_tᵀ                      TARA, variant B

All are B Σ_p diag(c_p) A_p with some parts p, and have the sum of the adapters' ranks. With equal
coefficients all are the scaled sum of the updates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustmerge.factors import Factors


@dataclass(frozen=True)
class WeightedUpdate:
    """One module's updates, to be added with coefficients.

    Attributes:
        A: Input directions [part, k, d_in].
        B: Output directions [d_out, k].
        repeats: How many neighboring directions share a coefficient, for each coefficient of a
            part.
    """

    A: Tensor
    B: Tensor
    repeats: Tensor

    def start(self, value: float) -> Tensor:
        """Return equal coefficients [part, coefficient]."""
        return torch.full((len(self.A), len(self.repeats)), value)

    def factors(self, coefficients: Tensor) -> Factors:
        """Return the weighted sum, with the gradients of the coefficients."""
        each = coefficients.repeat_interleave(self.repeats, 1)  # [part, k]
        return Factors((each[..., None] * self.A).sum(0), self.B)


def by_adapter(updates: Sequence[Factors]) -> WeightedUpdate:
    """Return a sum with one coefficient per adapter."""
    return _stacked(updates, [update.rank for update in updates])


def by_unit(updates: Sequence[Factors]) -> WeightedUpdate:
    """Return a sum with one coefficient per rank-one unit of each adapter, as it is stored."""
    return _stacked(updates, [1] * sum(update.rank for update in updates))


def by_direction(updates: Sequence[Factors]) -> WeightedUpdate:
    """Return a sum with one coefficient per adapter and shared output direction."""
    outputs, corner = torch.linalg.qr(torch.cat([update.B for update in updates], 1).double())
    corners = corner.split([update.rank for update in updates], 1)
    # The singular vectors of [Δ_1 … Δ_T], by those of its coordinates in the outputs' basis.
    wide = torch.cat([c @ u.A.double() for c, u in zip(corners, updates, strict=True)], 1)
    U, S, Vt = torch.linalg.svd(wide, full_matrices=False)
    A = torch.stack(Vt.chunk(len(updates), 1))  # [adapter, k, d_in]
    B = outputs @ U * S
    return WeightedUpdate(A.float(), B.float(), torch.ones(len(S), dtype=torch.long))


FORMS: Mapping[str, Callable[[Sequence[Factors]], WeightedUpdate]] = {
    "adapters": by_adapter,
    "units": by_unit,
    "directions": by_direction,
}


def row_space(update: Factors) -> Tensor:
    """Return orthonormal columns [d_in, rank] that span the rows of an update's A."""
    return torch.linalg.qr(update.A.double().T)[0].float()


def _stacked(updates: Sequence[Factors], repeats: Sequence[int]) -> WeightedUpdate:
    A = torch.cat([update.A for update in updates]).float()
    B = torch.cat([update.B for update in updates], 1).float()
    return WeightedUpdate(A[None], B, torch.tensor(repeats))
