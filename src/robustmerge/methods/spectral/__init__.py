"""Methods that look at singular values and at the directions that adapters share."""

from __future__ import annotations

from . import cart, iso_c, iso_cts, ssam, star, svd_cut, tsv_m

__all__ = ["cart", "iso_c", "iso_cts", "ssam", "star", "svd_cut", "tsv_m"]
