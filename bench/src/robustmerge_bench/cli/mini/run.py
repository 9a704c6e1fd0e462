"""`robustmerge bench mini run`: merges made and examined."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def run(
    *,
    root: Path,
    out: Path,
    methods: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    seeds: str = "0",
    init: Literal["shared", "independent", "both"] = "shared",
    frozen: Annotated[bool, Parameter(negative="")] = False,
    rank: Literal["input", "full", "both"] = "input",
    scale: Literal["default", "norm-matched", "geometric", "sweep", "all"] = "default",
    items: int = 500,
    validation: int = 100,
    matrix: Annotated[bool, Parameter(negative="")] = False,
    jobs: int | None = None,
) -> int:
    """Examine the base, its experts, and merges of them, on all tasks.

    One file per model is written to OUT. What is there is not done again, so that a run that was
    stopped goes on. `robustmerge bench mini table` shows the results.

    Args:
        root: Folder of the trained benchmark, with base and experts.
        out: Folder of the results.
        methods: What to merge by, separated by commas: names of methods, with parameters as in
            ties:density=0.3,space=delta, and with steps around them as in norms+tsv-m+svc. Every
            method unless given.
        seeds: Seeds of the experts, such as 0,1,2.
        init: How the experts' A began: shared, independent, or both.
        frozen: The experts whose projector was not trained.
        rank: Rank of the merges: input, full, or both.
        scale: How large the merges are made: default as the method has it; norm-matched and
            geometric by these rules; sweep by the best factor on validation items; or all of these.
        items: Test items per task.
        validation: Validation items per seen task: for sweep, and without their answers for
            methods that need data.
        matrix: Examine every expert on every task.
        jobs: Processes of one thread each; all cores unless given.
    """
    from . import show

    return show.run(
        root,
        out,
        methods=methods or [],
        seeds=seeds,
        inits=("shared", "independent") if init == "both" else (init,),
        frozen=frozen,
        ranks=("input", "full") if rank == "both" else (rank,),
        scales=("default", "norm-matched", "geometric", "sweep") if scale == "all" else (scale,),
        items=items,
        validation=validation,
        matrix=matrix,
        workers=jobs,
    )
