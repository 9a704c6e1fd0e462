r"""LoRA-LEGO: cluster the rank-one units of all adapters, and let each cluster be one direction.

    u = (a_k, w_t b_k)                       row k of A_t, column k of B_t: one unit; N in all
    clusters = k-means of the units, r of them; a, b = mean of the members
    a, b ← a, b times mean(|member|_∞) / |(a, b)|_∞
    Δ = sqrt(N / r) Σ_clusters b a^T

A LoRA is a sum of units, and any r of them are a LoRA of rank r. Units that different adapters
share are merged into one, others are kept apart. Means are shorter than their members, which the
first factor makes good, and r units weigh less than N, which the second does.

Units belong to the factors, not to the deltas: B G^-1, G A is the same update in other units, and
is merged to something else. Even a change of sign of both halves of a unit, which changes no
update, moves it to another cluster. Adapters of one initialization are what this is made for.

k-means starts by k-means++ (each next center is a unit drawn with probability proportional to its
squared distance from those there are) and runs until no unit changes its cluster. The draws depend
on the seed, the module and the order of the adapters. Implementations differ in the features: with
`normalize` both halves of a unit count alike; without it the longer half decides, as a rule B's.
Units whose product is zero are left out, so that padding is no change; a mean that cancels out up
to rounding is left at zero. The paper's text was not at hand: this is what public
re-implementations do.

Cost: O((d_out + d_in) N^2), and O(N^2 r) per round of k-means. The rank of the result is r.

Source: Zhao et al., Merging LoRAs like Playing LEGO, ICLR 2025, arXiv:2409.16167.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Interval
from jaxtyping import Float, Int
from torch import Tensor

from ...basis import Basis
from ...factors import Factors, Stack
from ...linalg import ROUNDING
from .._registry import method

_ROUNDS = 100  # of k-means, at most


@method(
    "lora-lego",
    paper="Zhao et al., ICLR 2025, arXiv:2409.16167",
    gauge_invariant=False,
    order_invariant=False,
    scale_equivariant=False,
    checked="the worked example; clusters that are known",
)
def lora_lego(
    stack: Stack,
    *,
    rank: Annotated[int, Interval(ge=0)] = 0,
    normalize: bool = True,
    seed: int = 0,
) -> Factors:
    """Merge by clusters of rank-one units.

    Args:
        stack: The module's updates.
        rank: Number of clusters r; 0 for the largest rank that an adapter has.
        normalize: Bring both halves of each unit to length 1 before units are compared.
        seed: Seed of the start of k-means.
    """
    pairs = zip(stack.factors, stack.weights, strict=True)
    a = torch.cat([f.A for f in stack.factors]).double()
    b = torch.cat([f.B.T * w for f, w in pairs]).double()
    nonzero = (a.norm(dim=1) > 0) & (b.norm(dim=1) > 0)
    a, b = a[nonzero], b[nonzero]  # [N, d_in], [N, d_out]
    if len(a) == 0:
        return Factors(a, b.T)
    halves = [x / x.norm(dim=1, keepdim=True) for x in (a, b)] if normalize else [a, b]
    # Distances are the same in the coordinates of a basis, and there are N of those.
    features = Basis.of(torch.cat(halves, dim=1).T).R.T  # [N, at most N]
    cluster = kmeans(features, rank or max(stack.ranks), stack.generator(seed, "lora-lego"))
    units = torch.cat([a, b], dim=1)  # [N, d_in + d_out]
    centers = _means(units, cluster)
    length = _means(units.abs().amax(1, keepdim=True), cluster)
    own = centers.abs().amax(1, keepdim=True)
    centers = centers * (length / own).where(own > ROUNDING * length, 0)
    A, B = torch.split(centers, [a.shape[1], b.shape[1]], dim=1)
    return Factors(A, B.T * (len(units) / len(centers)) ** 0.5)


def kmeans(x: Float[Tensor, "n d"], k: int, noise: torch.Generator) -> Int[Tensor, " n"]:
    """Return the cluster of each point, numbered from 0; fewer than k where fewer points differ."""
    centers = _start(x, k, noise)
    cluster = _nearest(x, centers)
    for _ in range(_ROUNDS):
        before, cluster = cluster, _nearest(x, _means(x, cluster))
        if torch.equal(before, cluster):
            break
    return cluster


def _start(x: Float[Tensor, "n d"], k: int, noise: torch.Generator) -> Float[Tensor, "k d"]:
    """Draw centers by k-means++, on the CPU, whatever the device."""
    centers = [int(torch.randint(len(x), (1,), generator=noise))]
    negligible = ROUNDING**2 * float(x.square().sum(1).max())
    while len(centers) < k:
        gap = _distances(x, x[centers]).square().amin(1).cpu()
        gap = gap.where(gap > negligible, 0)
        if not gap.any():
            break
        centers.append(int(torch.multinomial(gap, 1, generator=noise)))
    return x[centers]


def _nearest(x: Float[Tensor, "n d"], centers: Float[Tensor, "k d"]) -> Int[Tensor, " n"]:
    """Return the nearest center of each point; centers without points lose their number."""
    nearest = _distances(x, centers).argmin(1)
    number = (torch.bincount(nearest) > 0).cumsum(0) - 1
    return number[nearest]


def _means(x: Float[Tensor, "n d"], cluster: Int[Tensor, " n"]) -> Float[Tensor, "k d"]:
    member = torch.nn.functional.one_hot(cluster).to(x.dtype)
    return member.T @ x / member.sum(0)[:, None]


def _distances(x: Float[Tensor, "n d"], y: Float[Tensor, "k d"]) -> Float[Tensor, "n k"]:
    # The faster way, by products, would find distances of 1e-8 between equal points.
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
