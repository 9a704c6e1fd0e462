"""DoRA: updates are merged as those of LoRA are, and the lengths they give to rows are averaged.

    W' = m ∘ (W + Δ) / ‖W + Δ‖      m, ‖·‖ per row      m = Σ_t w_t m_t / Σ_t w_t

The result is a DoRA adapter. One adapter by itself comes out as it was, exactly. For several this
is a policy, not a theorem: Δ says in which direction the rows of W go, and a mean of lengths keeps
them near those that every adapter was trained for.

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
    """Check that DoRA adapters are whole, and that nothing else asked for excludes them.

    Raises:
        MergeError: A magnitude is missing, or has no place in what is to be written.
    """
    if not adapters[0].config.dora:
        return
    for adapter in adapters:
        bare = [n for n in adapter.modules if f"{n}.{MAGNITUDE}" not in adapter.extras]
        if bare:
            raise MergeError(
                f"{len(bare)} of {len(adapter.modules)} modules have no magnitude: {few(bare)}",
                where=str(adapter.weights),
                hint="the file is incomplete; save or fetch the adapter again",
            )
    impossible = {
        "extras_in = beside": recipe.extras_in == "beside",
        "extras = sum": recipe.extras == "sum",
        "missing = zero": recipe.missing == "zero",
        f"layout = {layout.LLAVA}": target == layout.LLAVA,
    }
    for setting, asked in impossible.items():
        if asked:
            raise MergeError(
                f"DoRA adapters cannot be merged with {setting}",
                where=few([a.label for a in adapters]),
                hint="magnitudes are averaged, over adapters that all have them, and stay in the "
                "adapter; leave the setting away",
            )


def dora_notes(adapters: Sequence[Adapter]) -> tuple[str, ...]:
    """What to know about the merge of DoRA adapters."""
    if not adapters[0].config.dora:
        return ()
    return ("these are DoRA adapters: updates are merged by the method, magnitudes averaged",)
