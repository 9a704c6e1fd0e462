"""`robustmerge bench mini train`: the base model and its experts, from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def train(
    root: Path,
    /,
    *,
    size: Literal["nano", "mini", "midi"] = "mini",
    seeds: Annotated[list[int] | None, Parameter(consume_multiple=True, negative="")] = None,
    init: Literal["shared", "independent", "both"] = "shared",
    frozen: Annotated[bool, Parameter(negative="")] = False,
    joint: bool = True,
    workers: int = 2,
    device: str = "cpu",
) -> None:
    """Train a vision-language model, and experts on eight tasks, from nothing.

    The world is drawn as it is needed; nothing is downloaded. A run that was stopped goes on where
    it was, and more sets of experts can be added to a folder at any time.

    Args:
        root: Folder to train in.
        size: nano for tests, mini for a laptop (about an hour on two cores), midi for a GPU.
        seeds: A set of experts for each: of their data and of the start of A.
        init: Whether the experts of a set start from the same A, or each from its own.
        frozen: Also train a set, of the first seed, that leaves the projector as it is.
        joint: Also train one adapter on all tasks, for each seed.
        workers: Processes of one thread each.
        device: cpu or cuda.
    """
    from ..bench.mini.training.train import train as run

    run(
        root,
        size=size,
        seeds=seeds or [0],
        inits=("shared", "independent") if init == "both" else (init,),
        frozen=frozen,
        joint=joint,
        workers=workers,
        device=device,
    )
