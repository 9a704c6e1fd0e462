"""Least squares: least interference between updates, or the best fit of outputs on data."""

from __future__ import annotations

from . import ace, act, aswudi, core_posterior, fisher, optmerge, regmean, swudi, wudi

__all__ = [
    "ace",
    "act",
    "aswudi",
    "core_posterior",
    "fisher",
    "optmerge",
    "regmean",
    "swudi",
    "wudi",
]
