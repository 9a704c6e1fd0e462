"""Methods that look at singular values and at the directions that adapters share."""

from __future__ import annotations

from . import ctm, dc_merge, do_merging, lora_lego, ocap, pico, tsv_m

__all__ = ["ctm", "dc_merge", "do_merging", "lora_lego", "ocap", "pico", "tsv_m"]
