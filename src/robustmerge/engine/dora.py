"""DoRA: updates are merged as those of LoRA are, and the magnitude vectors are averaged.

    W' = m ∘ (W + Δ) / ‖W + Δ‖      m, ‖·‖ per row      m = Σ_t w_t m_t / Σ_t w_t

The result is a DoRA adapter. A merge of one adapter is that adapter, exactly. For several this is a
policy, not a theorem: Δ determines the direction of the rows of W + Δ, and the mean of the
magnitudes keeps their lengths near those that every adapter was trained for.

Source: Liu et al., DoRA, arXiv:2402.09353; the RobustMerge paper merges such adapters (table 9)
without saying what becomes of the magnitudes.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..adapter import layout
from ..adapter.reader import Adapter
from ..adapter.settings import MAGNITUDE
from ..errors import MergeError, few
from .recipe import Recipe


def check_dora(adapters: Sequence[Adapter], recipe: Recipe, target: str) -> None:
    """Check that DoRA adapters are complete, and that no other option excludes them.

    Raises:
        MergeError: a missing magnitude vector, or an output that cannot hold one
    """
    if not adapters[0].config.dora:
        return
    for adapter in adapters:
        missing = [n for n in adapter.modules if f"{n}.{MAGNITUDE}" not in adapter.extras]
        if missing:
            raise MergeError(
                f"{len(missing)} of {len(adapter.modules)} modules have no magnitude: "
                f"{few(missing)}",
                where=str(adapter.paths.weights[0]),
                hint="the file is incomplete; save or download the adapter again",
            )
    impossible = {
        "extras_in = beside": recipe.extras_in == "beside",
        "extras = sum": recipe.extras == "sum",
        "missing = zero": recipe.missing == "zero",
        f"layout = {layout.LLAVA}": target == layout.LLAVA,
    }
    for setting, chosen in impossible.items():
        if chosen:
            raise MergeError(
                f"DoRA adapters cannot be merged with {setting}",
                where=few([a.label for a in adapters]),
                hint="magnitudes are averaged, over adapters that all have them, and stay in the "
                "adapter; remove this setting",
            )


def dora_notes(adapters: Sequence[Adapter]) -> tuple[str, ...]:
    """Return a note on how DoRA adapters are merged."""
    if not adapters[0].config.dora:
        return ()
    return ("these are DoRA adapters: updates are merged by the method, magnitudes averaged",)
