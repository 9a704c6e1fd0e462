r"""How the adapters' A began, told apart from what training made of them.

    cos_ij = Σ <A_i, A_j> / Σ ‖A_i‖ ‖A_j‖                      over all modules where ranks agree

A LoRA's A begins at random and moves by sums of the inputs it is trained on. Adapters trained from
one seed share the beginning A_0, and then the mean of their A's stands for it: cos is about 0.9
between them, and 0 otherwise. An A of its own beginning is compared with PEFT's distribution,
uniform in ±b with b = 1/√d_in: what reaches out of it has moved for sure.

    s² = 4b mean(max(|A| - b, 0))
    E(D | A) = s (φ(l) - φ(h)) / (Φ(h) - Φ(l)),    l = (A - b) / s,    h = (A + b) / s

is the drift that is expected of an entry, if it is normal with deviation s.

Both need the A as it was trained. Written in other coordinates, G A and B G^-1, as by a singular
value decomposition, it is neither near the others' A nor of PEFT's size, ‖A‖² = r/3 at the
beginning; then its row space stands for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...factors import Stack
from ...linalg import ROUNDING, compact_svd, norm

Kind = Literal["shared", "independent", "unknown"]
AssumedStart = Literal["auto", "shared", "independent", "unknown"]

_ALIKE = 0.5
"""Cosine above which two A began alike; those measured are near 0 or above 0.85."""
_SIZES = (0.8, 3.0)
"""Squared norms that an A from PEFT's start can have, in units of that at the start. Training adds
a tenth on the laptop benchmark."""
_FAR = 20.0  # deviations; exp(-l² / 2) is 0 in float64 from 39 on
_LEAST_DRIFT = 0.04  # of b; far below what training does, and l stays where erfcx is finite


@dataclass(frozen=True)
class StartSums:
    """One module's part of the sums that distinguish starts.

    Attributes:
        module: Its name.
        energies: Squared Frobenius norms of the updates.
        products: Inner products of the A's, where ranks agree.
        lengths: Products of their norms, likewise.
        sizes: Squared norms of the A's, and what PEFT's start gives them.
    """

    module: str
    energies: Float[Tensor, " task"]
    products: Float[Tensor, "task task"]
    lengths: Float[Tensor, "task task"]
    sizes: Float[Tensor, "2 task"]

    @classmethod
    def of(cls, stack: Stack) -> StartSums:
        """Measure a module."""
        A = stack.A.double().flatten(1)  # [task, rank·d_in]
        ranks = torch.tensor(stack.ranks)
        same = ranks[:, None] == ranks
        squares = A.square().sum(1)
        return cls(
            stack.module,
            torch.tensor([norm(f) ** 2 for f in stack.factors]).double(),
            (A @ A.T).cpu() * same,
            (squares[:, None] * squares).sqrt().cpu() * same,
            torch.stack([squares.cpu(), ranks.double() / 3]),
        )


@dataclass(frozen=True)
class Starts:
    """What a pass over all modules shows of the adapters as wholes.

    Attributes:
        norms: Frobenius norms of the updates.
        groups: A number per adapter, the same for those that began at one A.
        kinds: Whether an adapter shares its start, has PEFT's, or another that is not known.
    """

    norms: tuple[float, ...]
    groups: tuple[int, ...]
    kinds: tuple[Kind, ...]

    @classmethod
    def of(cls, modules: Iterable[StartSums], assumed: AssumedStart = "auto") -> Starts:
        """Add up all modules; kinds follow from that, or are assumed of all adapters."""
        energies, products, lengths, sizes = (torch.zeros(1, dtype=torch.float64),) * 4
        for of in modules:
            energies = energies + of.energies
            products, lengths = products + of.products, lengths + of.lengths
            sizes = sizes + of.sizes
        cosines = products / lengths.clamp_min(1e-300)
        groups = _find_groups(cosines)
        ratios = (sizes[0] / sizes[1].clamp_min(1e-300)).tolist()
        kinds = [_kind(groups.count(g), ratio) for g, ratio in zip(groups, ratios, strict=True)]
        if assumed != "auto":
            kinds = [assumed] * len(kinds)
            groups = (0,) * len(kinds) if assumed == "shared" else groups
        return cls(tuple(energies.sqrt().tolist()), groups, tuple(kinds))


def _kind(members: int, size: float) -> Kind:
    if members > 1:
        return "shared"
    return "independent" if _SIZES[0] <= size <= _SIZES[1] else "unknown"


def _find_groups(cosines: Float[Tensor, "task task"]) -> tuple[int, ...]:
    """Return the first adapter that each one began alike with, directly or over others."""
    groups = list(range(len(cosines)))
    for i in range(len(cosines)):
        for j in range(i):
            if cosines[i, j] > _ALIKE and groups[i] != groups[j]:
                low, high = sorted((groups[i], groups[j]))
                groups = [low if group == high else group for group in groups]
    return tuple(groups)


def drifts(
    stack: Stack, starts: Starts, expected: Mapping[int, Tensor] = MappingProxyType({})
) -> tuple[Float[Tensor, "rank d_in"], ...]:
    """Return what training added to each A of a module, as far as it can be known.

    Args:
        stack: The module's updates, in any orthonormal coordinates of their inputs.
        starts: Of the adapters as wholes.
        expected: The drift of those that have PEFT's start, where the coordinates are not the
            model's, and their entries therefore not PEFT's.
    """
    rows: list[Tensor] = []
    ranks = zip(starts.groups, stack.ranks, starts.kinds, strict=True)
    means = {
        (group, rank): _mean_start(stack, starts.groups, group, rank)
        for group, rank in {(g, r) for g, r, kind in ranks if kind == "shared"}
    }
    for t, f in enumerate(stack.factors):
        A = f.A.double()
        if starts.kinds[t] == "shared":
            moved = A - means[starts.groups[t], f.rank]
            rows.append(moved if moved.norm() > ROUNDING * A.norm() else torch.zeros_like(A))
        elif starts.kinds[t] == "independent":
            rows.append(expected[t] if t in expected else expected_drift(A))
        else:
            rows.append(compact_svd(A)[2])
    return tuple(rows)


def _mean_start(
    stack: Stack, groups: Sequence[int], group: int, rank: int
) -> Float[Tensor, "rank d_in"]:
    pairs = zip(stack.factors, groups, strict=True)
    alike = [f.A for f, g in pairs if g == group and f.rank == rank]
    return torch.stack(alike).double().mean(0)


def expected_drift(A: Float[Tensor, "rank d_in"]) -> Float[Tensor, "rank d_in"]:
    """Return the expected drift of every entry from PEFT's start."""
    if not A.numel():
        return A
    b = 1 / math.sqrt(A.shape[1])
    s = (4 * b * (A.abs() - b).clamp_min(0).mean()).sqrt().clamp_min(_LEAST_DRIFT * b)
    low, high = (A.abs() - b) / s, (A.abs() + b) / s
    ratio = _density(low, high)
    if (far := low > _FAR).any():
        ratio[far] = _density_far_out(low[far], high[far])
    drift: Tensor = A.sign() * s * ratio
    return drift


def _density(low: Tensor, high: Tensor) -> Tensor:
    """Return (φ(low) - φ(high)) / (Φ(high) - Φ(low))."""
    left, right = low * math.sqrt(0.5), high * math.sqrt(0.5)
    mass = torch.erfc(left).sub_(torch.erfc(right))  # twice Φ(high) - Φ(low)
    density = left.square_().neg_().exp_().sub_(right.square_().neg_().exp_())
    return density.mul_(math.sqrt(2 / math.pi)).div_(mass)


def _density_far_out(low: Tensor, high: Tensor) -> Tensor:
    """Return the same with both times exp(low² / 2), so that 0 is not divided by 0."""
    fall = torch.exp((low.square() - high.square()) / 2)
    erfcx = torch.special.erfcx  # ten times as slow as erfc
    mass = (erfcx(low / math.sqrt(2)) - fall * erfcx(high / math.sqrt(2))) / 2
    ratio: Tensor = (1 - fall) / (math.sqrt(2 * math.pi) * mass)
    return ratio
