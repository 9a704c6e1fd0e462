"""Subspaces and spectra: singular values, and the directions that adapters share."""

from __future__ import annotations

from . import (
    cart,
    ctm,
    dc_merge,
    do_merging,
    iso_c,
    iso_cts,
    lora_lego,
    ocap,
    pico,
    ssam,
    star,
    svd_cut,
    tsv_m,
)

__all__ = [
    "cart",
    "ctm",
    "dc_merge",
    "do_merging",
    "iso_c",
    "iso_cts",
    "lora_lego",
    "ocap",
    "pico",
    "ssam",
    "star",
    "svd_cut",
    "tsv_m",
]
