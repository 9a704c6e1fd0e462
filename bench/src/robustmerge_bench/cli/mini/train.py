"""`robustmerge bench mini train`: the base model and its experts, from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def train(
    *,
    root: Path,
    size: Literal["nano", "mini", "midi"] = "mini",
    seeds: str = "0",
    init: Literal["shared", "independent", "both"] = "shared",
    frozen: Annotated[bool, Parameter(negative="")] = False,
    rank: int | None = None,
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
        seeds: Seeds such as 0,1,2; a set of experts for each, with data and starts of A of its own.
        init: Whether the experts of a set start from the same A, or each from its own.
        frozen: Leave the projector as it is; these are sets of their own.
        rank: Of the experts' LoRA, where it is not the size's own; sets of their own.
        joint: Also train one adapter on all tasks, for each seed; with plain sets only.
        workers: Processes of one thread each.
        device: cpu or cuda.
    """
    from robustmerge.cli.optional import needing

    from .show import parse_seeds

    with needing("training", "robustmerge-bench"):
        from ...mini.training.train import train as run

    run(
        root,
        size=size,
        seeds=parse_seeds(seeds),
        inits=("shared", "independent") if init == "both" else (init,),
        frozen=frozen,
        rank=rank,
        joint=joint,
        workers=workers,
        device=device,
    )
