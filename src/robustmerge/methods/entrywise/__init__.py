"""Methods that see an update as a vector of entries: sparsify, elect, sum."""

from __future__ import annotations

from . import (
    breadcrumbs,
    consensus,
    dare,
    dare_ties,
    della,
    emr_unified,
    magmax,
    magnitude_prune,
    pcb,
    ram,
    sce,
    ties,
)

__all__ = [
    "breadcrumbs",
    "consensus",
    "dare",
    "dare_ties",
    "della",
    "emr_unified",
    "magmax",
    "magnitude_prune",
    "pcb",
    "ram",
    "sce",
    "ties",
]
