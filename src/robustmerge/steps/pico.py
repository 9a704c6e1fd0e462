r"""Pico: shrink the output directions that adapters share, before any merge.

    U Σ = svd([w_1 Δ_1 ... w_T Δ_T])         flavor delta; [w_1 B_1 ... w_T B_T] with flavor paper
    c_k = σ_k² / Σ_l σ_l²
    Δ_t <- U diag(1 / (1 + (T - 1) c_k)) U^T Δ_t

The first half of the method `pico`, whose page says more, for use with another method; the second
half is `--scale norm-matched --scale-over module`.

Source: Pico, arXiv:2604.16826, with its released code.
"""

from __future__ import annotations

from ..factors import Stack
from ..methods.spectral.pico import Flavor, calibrate
from ._registry import step


@step("pico", stage="balance", paper="Pico, arXiv:2604.16826", checked="the method `pico`")
def pico(stack: Stack, *, flavor: Flavor = "delta") -> Stack:
    """Calibrate the updates.

    Args:
        stack: The module's updates.
        flavor: Take the directions of the deltas, or as published those of the B's.
    """
    return calibrate(stack, flavor)
