"""One adapter at a smaller rank: the best approximation of every module's update (Eckart-Young).

A resize is a merge of one adapter by the exact sum, cut to a rank, so that its folder, its record
and what it costs are those of a merge: O((d_out + d_in) r²) per module, and a few modules' factors
in memory. Where the rank follows from the energy, a first pass finds the smallest one that keeps
this share of every module's update.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from ..adapter.reader import Adapter
from ..errors import MergeError
from ..files import expand_user
from ..threads import Progress, silent
from .merge import merge_recipe
from .options import Dora, DType, ExtrasIn
from .recipe import Recipe
from .report import MergeReport
from .values import read_rank

_WAY_OUT = "a number such as 16, or energy:SHARE such as energy:0.99"


def resize_adapter(
    source: str | Path,
    output: str | Path,
    *,
    rank: int | str,
    dtype: DType | None = None,
    device: str = "cpu",
    workers: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> MergeReport:
    """Write an adapter at a smaller rank; the folder appears whole or not at all.

    Args:
        source: Adapter folder or Hub id.
        output: The folder to write.
        rank: The most that the result's rank may be, or energy:SHARE.
        dtype: float32, float16 or bfloat16; that of the input where not given.
        device: Where to compute.
        workers: Modules computed at the same time; all cores where not given.
        force: Replace an adapter that is already there.
        progress: Called after every module.

    Raises:
        MergeError: anything the user can fix; nothing was written
    """
    if read_rank("rank", rank) in ("input", "full"):
        raise MergeError(f"rank {rank!r} cuts nothing", where="--rank", hint=_WAY_OUT)
    with closing(Adapter(source, dora=True)) as adapter:
        largest = max(module.rank for module in adapter.modules.values())
        dora: Dora = "mean" if adapter.config.dora else "refuse"
        extras_in: ExtrasIn = "beside" if adapter.beside else "adapter"
    if not str(rank).startswith("energy:"):
        rank = min(int(rank), largest)
    recipe = Recipe(
        (str(source),),
        method="task-arithmetic",
        rank=rank,
        dtype=dtype,
        dora=dora,
        extras="mean",
        extras_in=extras_in,
    )
    return merge_recipe(
        recipe,
        expand_user(output),
        device=device,
        workers=workers,
        force=force,
        progress=progress,
    )
