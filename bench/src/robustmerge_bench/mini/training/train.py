"""All of the training, from nothing to a base model and its experts.

ROOT/training.json                        what is trained; another training is refused
ROOT/stages/                              states of the stages, to go on from
ROOT/base/                                the base model, for plain transformers
ROOT/experts/<init>-<seed>/<task>/        an expert, for plain PEFT
ROOT/experts/<init>-<seed>/joint/         one adapter trained on all eight tasks
ROOT/experts/<init>-<seed>-frozen/<task>/ experts that leave the projector as it is
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import multiprocessing

from robustmerge.errors import MergeError

from ..tasks import SEEN
from .experts import JOINT, ExpertSettings, Init, learn_task
from .fit import WorkerInfo, quiet, side_by_side
from .sight import learn_to_see
from .sizes import SIZES
from .speech import learn_to_speak


@dataclass(frozen=True)
class TrainingJob:
    """One adapter to be trained."""

    folder: Path
    task: str
    init: Init
    seed: int
    recipe: ExpertSettings


def train(
    root: Path,
    *,
    size: str = "mini",
    seeds: Sequence[int] = (0,),
    inits: Sequence[Init] = ("shared",),
    frozen: bool = False,
    rank: int | None = None,
    joint: bool = True,
    workers: int = 2,
    device: str = "cpu",
) -> None:
    """Train what is not there yet; a run that was stopped goes on.

    Args:
        root: Folder of the benchmark.
        size: One of SIZES.
        seeds: Sets of experts: of their data, and of A. The base is trained once, with seed 0.
        inits: Whether the experts of a set start from the same A.
        frozen: Leave the projector as it is; sets of their own.
        rank: Of the experts' LoRA, where it is not the size's own; sets of their own.
        joint: Also train one adapter on all tasks, for every seed; for plain sets only.
        workers: Processes of one thread each; on a GPU one.
        device: cpu or cuda.

    Raises:
        MergeError: The folder holds another training.
    """
    quiet()
    root.mkdir(parents=True, exist_ok=True)
    settle(root, size)
    chosen = SIZES[size]
    place = WorkerInfo(0, workers if device == "cpu" else 1, device)
    if not (root / "base").exists():
        stages = root / "stages"
        stages.mkdir(exist_ok=True)
        if not (stages / "tower.pt").exists():
            side_by_side(learn_to_see, place, stages, chosen, 0)
        side_by_side(learn_to_speak, place, stages, root / "base", chosen, 0)
    recipe = replace(chosen.expert, projector=not frozen, rank=rank or chosen.expert.rank)
    ending = ("-frozen" if frozen else "") + (f"-rank{rank}" if rank else "")
    lessons = all_lessons(root / "experts", recipe, seeds, inits, ending, joint and not ending)
    learn_all(root / "base", [x for x in lessons if not is_there(x.folder)], place)


def settle(root: Path, size: str) -> None:
    """Write what is trained here, or see that it is the same."""
    wanted = json.loads(json.dumps({"size": size, **asdict(SIZES[size])}))
    del wanted["about"]
    path = root / "training.json"
    if not path.exists():
        path.write_text(json.dumps(wanted, indent=2) + "\n")
        return
    found = json.loads(path.read_text())
    for key in wanted:
        if found.get(key) != wanted[key]:
            raise MergeError(
                "the folder holds another training",
                where=f"{path}  {key}: {found.get(key)}\nnow  {key}: {wanted[key]}",
                hint="train into another folder, or remove this one",
            )


def all_lessons(
    experts: Path,
    recipe: ExpertSettings,
    seeds: Sequence[int],
    inits: Sequence[Init],
    ending: str,
    joint: bool,
) -> list[TrainingJob]:
    """The adapters to be trained, the long ones first."""
    lessons = []
    for seed in seeds:
        for init in inits:
            folder = experts / f"{init}-{seed}{ending}"
            # A joint adapter has no other that its A could be shared with: one serves both.
            if joint and init == inits[0]:
                lessons.append(TrainingJob(folder / JOINT, JOINT, init, seed, recipe))
            lessons += [TrainingJob(folder / task, task, init, seed, recipe) for task in SEEN]
    return sorted(lessons, key=lambda lesson: lesson.task != JOINT)


def learn_all(base: Path, lessons: Sequence[TrainingJob], place: WorkerInfo) -> None:
    """Train adapters, as many side by side as there are workers."""
    if place.workers == 1:
        for lesson in lessons:
            learn_one(base, lesson, place.device)
        return
    # A process for each: what one has allocated is free for the next.
    context = multiprocessing.get_context("spawn")
    with context.Pool(place.workers, alone, maxtasksperchild=1) as pool:
        work = [(base, lesson, place.device) for lesson in lessons]
        pool.starmap(learn_one, work, chunksize=1)


def alone() -> None:
    """Be a process of one thread that says only what it is about."""
    torch.set_num_threads(1)
    quiet()


def learn_one(base: Path, lesson: TrainingJob, device: str) -> None:
    """Train one adapter."""
    learn_task(base, lesson.folder, lesson.task, lesson.init, lesson.seed, lesson.recipe, device)


def is_there(folder: Path) -> bool:
    """Whether an adapter is trained."""
    return (folder / "adapter_config.json").exists()
