"""`robustmerge bench mini`: the laptop benchmark. Torch is imported inside the verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from robustmerge.cli.cluster import HERE, ClusterOptions
from robustmerge.cli.optional import needing

from .comparison import (
    INITS,
    Flag,
    InitOption,
    RankOption,
    RunOptions,
    ScaleOption,
    all_of,
    examine_merges,
    print_gates,
    read_seeds,
    table,
)

mini = App(
    name="mini",
    help="The laptop benchmark: a tiny vision-language model, its experts, and merges of them.",
)


@mini.command
def train(
    *,
    root: Path,
    size: Literal["nano", "mini", "midi"] = "mini",
    seeds: str = "0",
    init: InitOption = "shared",
    frozen: Flag = False,
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
    with needing("training", "robustmerge-bench"):
        from ..mini.training.train import train as run

    run(
        root,
        size=size,
        seeds=read_seeds(seeds),
        inits=all_of(init, INITS),
        frozen=frozen,
        rank=rank,
        joint=joint,
        workers=workers,
        device=device,
    )


@mini.command
def run(
    *,
    root: Path,
    out: Path,
    methods: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    seeds: str = "0",
    init: InitOption = "shared",
    frozen: Flag = False,
    rank: RankOption = "input",
    scale: ScaleOption = "default",
    items: int = 500,
    validation: int = 100,
    matrix: Flag = False,
    jobs: int | None = None,
    cluster: Annotated[ClusterOptions, Parameter(name="*")] = HERE,
) -> int:
    """Examine the base, its experts, and merges of them, on all tasks.

    One file per model is written to OUT. What is there is not done again, so that a run that was
    stopped goes on. `robustmerge bench mini table` shows the results.

    Args:
        root: Folder of the trained benchmark, with base and experts.
        out: Folder of the results.
        methods: What to merge by, separated by commas: names of methods, with parameters as in
            ties:density=0.3,space=delta, and with steps around them as in norms+tsv-m+svc. Every
            method that merges from files unless given, and a control: the sum of updates with
            random directions. relay runs the base on validation items without their answers.
        seeds: Seeds of the experts, such as 0,1,2.
        init: How the experts' A began: shared, independent, or both.
        frozen: The experts whose projector was not trained.
        rank: Rank of the merges: input, full, or both.
        scale: How large the merges are made: default as the method has it; norm-matched and
            geometric, kept and metric by these rules; sweep by the best factor on validation
            items; or all of these.
        items: Test items per task.
        validation: Validation items per seen task: for sweep, and without their answers for
            methods that need data.
        matrix: Examine every expert on every task.
        jobs: Processes of one thread each; all cores unless given.
        cluster: Where they run.
    """
    from ..mini.runs.world import built_in

    options = RunOptions(
        root,
        out,
        methods,
        seeds,
        init,
        frozen=frozen,
        rank=rank,
        scale=scale,
        items=items,
        validation=validation,
        matrix=matrix,
        jobs=jobs,
        cluster=cluster,
    )
    return examine_merges(options, built_in(), "mini")


mini.command(table)


@mini.command
def gates(
    *,
    root: Path,
    out: Path,
    rank: Literal["input", "full"] = "full",
    items: int | None = None,
    json: Flag = False,
) -> int:
    """Check that a trained benchmark is like real models where it matters.

    Every family of experts in the results is judged. Exit code 1 if a gate fails.

    Args:
        root: Folder of the trained benchmark, with base and experts.
        out: Folder of the results.
        rank: Rank of the merges that are compared with each other; at full rank nothing is cut.
        items: Only results over so many test items per task.
        json: Print as JSON.
    """
    return print_gates(root, out, rank, items, json=json)


@mini.command
def pack(
    *,
    root: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    experts: str = "shared-0",
    note: str = "",
    force: Flag = False,
) -> None:
    """Write base, one set of experts and the joint adapter in half precision, with a manifest.

    Args:
        root: Folder of the trained benchmark.
        output: Folder to write. It appears whole or not at all.
        experts: Which set.
        note: What else the manifest should say of how it was made.
        force: Replace an artifact that is already there.
    """
    with needing("packing", "robustmerge-bench"):
        from ..mini.artifact import pack as write

    init, _, rest = experts.partition("-")
    seed = rest.partition("-")[0]
    made_by = {
        "command": f"robustmerge bench mini train --root ROOT --seeds {seed} --init {init}",
        "seed": int(seed) if seed.isdigit() else seed,
    }
    made_by |= {"note": note} if note else {}
    manifest = write(root, output, made_by=made_by, experts=experts, force=force).manifest
    print(f"{output}: {len(manifest['files'])} files, {manifest['bytes']:,} bytes")
