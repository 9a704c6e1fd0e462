"""The whole training: a base model and its experts.

ROOT/training.json                        what is trained; another training is refused
ROOT/stages/                              states of the stages, for resumption
ROOT/base/                                the base model, for plain transformers
ROOT/experts/<init>-<seed>/<task>/        an expert, for plain PEFT
ROOT/experts/<init>-<seed>/joint/         one adapter trained on all eight tasks
ROOT/experts/<init>-<seed>-frozen/<task>/ experts with a frozen projector
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from robustmerge.errors import MergeError
from robustmerge.files import alone_in, read_json, write_json

from ...quiet import quiet
from ..tasks import SEEN
from .experts import JOINT, ExpertSettings, StartOfA, train_expert
from .fit import check_states, run_workers
from .language import pretrain_language
from .sizes import SIZES
from .vision import pretrain_vision


@dataclass(frozen=True)
class TrainingJob:
    """One adapter to be trained."""

    folder: Path
    task: str
    init: StartOfA
    seed: int
    recipe: ExpertSettings

    @property
    def done(self) -> bool:
        """Whether the adapter is trained."""
        return (self.folder / "adapter_config.json").exists()

    def run(self, base: Path, device: str) -> None:
        """Train the adapter."""
        with quiet():
            train_expert(base, self.folder, self.task, self.init, self.seed, self.recipe, device)


def train(
    root: Path,
    *,
    size: str = "mini",
    seeds: Sequence[int] = (0,),
    inits: Sequence[StartOfA] = ("shared",),
    frozen: bool = False,
    rank: int | None = None,
    joint: bool = True,
    workers: int = 2,
    device: str = "cpu",
) -> None:
    """Train what is missing; an interrupted training is resumed.

    Args:
        root: Folder of the benchmark.
        size: One of SIZES.
        seeds: Sets of experts: of their data, and of A. The base is trained once, with seed 0.
        inits: Whether the experts of a set start from the same A.
        frozen: Freeze the projector; these are separate sets.
        rank: Of the experts' LoRA, instead of the size's own; these are separate sets.
        joint: Also train one adapter on all tasks, for every seed; for plain sets only.
        workers: Processes of one thread each; on a GPU one.
        device: cpu or cuda.

    Raises:
        MergeError: The folder holds another training, or another run trains in it.
    """
    sizes = SIZES[size]
    workers = workers if device == "cpu" else 1
    recipe = replace(sizes.expert, projector=not frozen, rank=rank or sizes.expert.rank)
    ending = ("-frozen" if frozen else "") + (f"-rank{rank}" if rank else "")
    jobs = list_jobs(root / "experts", recipe, seeds, inits, ending, joint and not ending)
    root.mkdir(parents=True, exist_ok=True)
    with alone_in(root), quiet():
        settle(root, {"size": size, **asdict(sizes)})
        if not (root / "base").exists():
            stages = root / "stages"
            stages.mkdir(exist_ok=True)
            last = {"sight.pt": sizes.sight.last, "speech.pt": sizes.speech.last}
            check_states({stages / name: step for name, step in last.items()}, workers)
            if not (stages / "tower.pt").exists():
                run_workers(pretrain_vision, workers, device, stages, sizes, 0)
            run_workers(pretrain_language, workers, device, stages, root / "base", sizes, 0)
        run_jobs(root / "base", [job for job in jobs if not job.done], workers, device)


def settle(root: Path, settings: Mapping[str, Any]) -> None:
    """Write training.json, or check that it describes the same training.

    A setting that is None is one that an earlier version did not have.
    """
    new = _without_none(json.loads(json.dumps(settings)))
    new.pop("about", None)
    path = root / "training.json"
    if not path.exists():
        write_json(path, new)
        return
    old = _without_none(read_json(path))
    old.pop("about", None)
    for key in dict.fromkeys((*new, *old)):
        if old.get(key) != new.get(key):
            raise MergeError(
                "the folder holds another training",
                where=f"{path}  {key}: {old.get(key)}\nnow  {key}: {new.get(key)}",
                hint="train into another folder, or remove this one",
            )


def _without_none(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out the settings that are None, at all depths."""
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if value is not None
    }


def list_jobs(
    experts: Path,
    recipe: ExpertSettings,
    seeds: Sequence[int],
    inits: Sequence[StartOfA],
    ending: str,
    joint: bool,
) -> list[TrainingJob]:
    """Return the adapters to be trained, the long ones first."""
    jobs = []
    for seed in seeds:
        for init in inits:
            folder = experts / f"{init}-{seed}{ending}"
            # A joint adapter shares its A with no other: one serves both kinds of sets.
            names = (JOINT, *SEEN) if joint and init == inits[0] else SEEN
            jobs += [TrainingJob(folder / name, name, init, seed, recipe) for name in names]
    return sorted(jobs, key=lambda job: job.task != JOINT)


def run_jobs(base: Path, jobs: Sequence[TrainingJob], workers: int, device: str) -> None:
    """Train adapters, as many in parallel as there are workers."""
    if workers == 1:
        for job in jobs:
            job.run(base, device)
        return
    # One process per job, so that its memory is free for the next.
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, torch.set_num_threads, (1,), maxtasksperchild=1) as pool:
        pool.starmap(TrainingJob.run, [(job, base, device) for job in jobs], chunksize=1)
