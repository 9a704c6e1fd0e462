r"""MAGIC: bring every output row of a merge to the size that it has in the adapters.

    d a row of the merged update, a_t the same row of w_t Δ_t
    α_t = <d, a_t> / |a_t|²                         each for itself, not a joint projection
    d_⊥ = d - Σ_t α_t a_t
    d ← d / sqrt(Σ_t α_t² + |d_⊥|² / n² + 1e-8)     n = mean_t |a_t|

A merge of T adapters that differ is shorter than each of them, by more in some rows than in others.
A row that is one adapter's becomes as long as that adapter's; one that has nothing to do with any
becomes as long as they are on average. Only the rows' directions are left of the merge before, so
that its scale does not matter: this is norm matching row by row (weight space calibration, WSC). To
see what it does beyond that, compare it with a merge at the same norm: `--scale norm-matched`
after either.

Two updates [[2, 0, 0], [0, 1, 0]] and [[1, 1, 0], [0, 0, 2]] have the mean [[1.5, 0.5, 0], [0, 0.5,
1]]; its rows times 0.7086 and 1.4142 are [[1.0629, 0.3543, 0], [0, 0.7071, 1.4142]].

Rows are those of the layer, and a turn of the outputs changes the result; A and rank of the merge
stay. n is the mean over the updates that are not zero. The authors find magnitude-sensitive layers
on data, which then only shrink while all others only grow; without data they take the rule as it
is, as here. Their calibration of features (FSC) needs the model and is not here.

Cost: O(d_out R^2 + d_in R^2) for the sum of ranks R; for a merge of full shape O(d_out d_in R).

Source: MAGIC, arXiv:2512.19320; released code, lyymuwu/MAGIC, src/utils_rectify.py.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..factors import Dense, Factors, Lifted, Stack, Update
from ..linalg import ROUNDING
from ._registry import step

Rows = Float[Tensor, " d_out"]

_EPSILON = 1e-8  # the released code's


@step(
    "magic",
    stage="calibrate",
    paper="MAGIC, arXiv:2512.19320",
    checked="the worked example; the dense definition",
)
def magic(update: Update, stack: Stack) -> Update:
    """Calibrate a merged update's rows.

    Args:
        update: The merged update.
        stack: What it was merged from.
    """
    updates = _weighted(stack)
    if not updates:
        return update
    merged = update.factors() if isinstance(update, Lifted) else update
    by = _factors_of_rows(merged, updates)[:, None]
    if isinstance(merged, Dense):
        return Dense(merged.delta * by.to(merged.delta.dtype))
    return Factors(merged.A, merged.B * by.to(merged.B.dtype))


def _weighted(stack: Stack) -> list[Factors]:
    """Return the updates times their weights, in float64; those that are zero left out."""
    pairs = zip(stack.factors, stack.weights, strict=True)
    updates = [Factors(f.A.double(), f.B.double() * w) for f, w in pairs]
    return [f for f in updates if f.rank and _products(f, f).any()]


def _factors_of_rows(merged: Factors | Dense, updates: list[Factors]) -> Rows:
    """Return what every row is multiplied by: λ."""
    squares = torch.stack([_products(f, f) for f in updates])  # |a_t|², [task, d_out]
    along = torch.stack([_products(merged, f) for f in updates])  # <d, a_t>
    # Rows in which an update has rounding only do not count as its own.
    own = squares > ROUNDING**2 * squares.amax(dim=1, keepdim=True)
    alpha = (along / squares).where(own, 0)
    parts = zip(updates, alpha, strict=True)
    explained = Factors(
        torch.cat([f.A for f in updates]), torch.cat([f.B * a[:, None] for f, a in parts], dim=1)
    )
    if isinstance(merged, Dense):
        whole = merged.delta.double().square().sum(1)
    else:
        whole = _products(merged, merged)
    outside = whole - 2 * (alpha * along).sum(0) + _products(explained, explained)  # |d_⊥|²
    mean = squares.clamp_min(0).sqrt().mean(0)
    rest = (outside.clamp_min(0) / mean.square()).where(mean > 0, 0)
    factors: Tensor = (alpha.square().sum(0) + rest + _EPSILON).rsqrt()
    return factors


def _products(x: Factors | Dense, y: Factors) -> Rows:
    """Return the inner products of the rows of two updates."""
    if isinstance(x, Dense):
        return ((x.delta.double() @ y.A.double().T) * y.B.double()).sum(1)
    return ((x.B.double() @ (x.A.double() @ y.A.double().T)) * y.B.double()).sum(1)
