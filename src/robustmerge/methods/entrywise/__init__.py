"""Vectors of entries, of factors, deltas, cores (Core Space) or aligned (KnOTS): `space`."""

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
