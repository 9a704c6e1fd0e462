"""Methods that minimize interference, or fit outputs on activations."""

from __future__ import annotations

from . import ace, act, aswudi, fisher, optmerge, regmean, swudi, wudi

__all__ = ["ace", "act", "aswudi", "fisher", "optmerge", "regmean", "swudi", "wudi"]
