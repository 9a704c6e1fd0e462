"""The trained parts as a small folder: what the packages do not have, in half precision.

    manifest.json
    training.json               the training's settings
    base.safetensors            the LoRA that makes the base, its projector, means and spreads
    experts/shared-0/flg/       an adapter for PEFT; one folder for each task, and joint/

`unpack` makes a training's root of it with the weights of the packages: it adds the LoRA to them.
So that base differs from the one that was trained by what float16 changes in the LoRA.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from robustmerge.errors import MergeError, reading, writing
from robustmerge.files import read_json, write_json
from robustmerge.outputs import check_target, whole_folder

from ..mini.artifact import (
    KIND,
    MANIFEST,
    check_files,
    check_same,
    halve_adapter,
    in_half,
    read_manifest,
    write_manifest,
)
from ..mini.runs.folders import ExpertSet
from ..mini.runs.plan import hash_of_world
from ..mini.training.train import settle
from .tasks import SEEN, bind
from .tasks.pool import read_pool
from .training.stages import StageInput, build_base

BASE = "base.safetensors"
LARGEST = 90_000_000  # bytes: of the largest file, the base's, there are 17 million
BUFFERS = ("mean", "spread")  # of the tower's channels: exact, since their sizes differ


def pack(
    work: StageInput, out: Path, *, experts: str, note: str = "", force: bool = False
) -> Mapping[str, Any]:
    """Write the base's trained parts and a set of experts with a manifest; return the manifest.

    Raises:
        MergeError: stage instruct is not finished, an expert is missing, or it is too large.
    """
    trained = ExpertSet(work.root / "experts" / experts, experts, 0)
    folders = [*trained.adapters(SEEN), *([trained.joint] if trained.joint else [])]
    inputs = [work.root, *folders]
    tensors = read_trained(work)
    check_target(out, KIND, inputs, force=force)
    with whole_folder(out, KIND, inputs, force=force) as partial:
        save_file(tensors, partial / BASE, metadata={"format": "pt"})
        for folder in folders:
            halve_adapter(folder, partial / "experts" / experts / folder.name)
        write_json(partial / "training.json", read_json(work.root / "training.json"))
        facts = {
            "made_by": {"commands": "docs/midibench.md", **({"note": note} if note else {})},
            "experts": experts,
            "world": {"tasks": hash_of_world(bind(read_pool(work.sources)))},
        }
        return write_manifest(partial, facts, LARGEST, work.root)


def read_trained(work: StageInput) -> dict[str, Tensor]:
    """Return what stage instruct has trained in float16, and the tower's means and spreads."""
    if not (work.root / "base").is_dir():
        raise MergeError(
            "no trained base", where=str(work.root), hint="train it first: --stage instruct"
        )
    states = {}
    for stage in ("instruct", "projector"):
        file = work.stages / f"{stage}.pt"
        with reading(file):
            states[stage] = torch.load(file, map_location="cpu", weights_only=True)["module"]
    trained = in_half(states["instruct"], work.stages / "instruct.pt")
    return trained | {name: states["projector"][name] for name in BUFFERS}


def unpack(artifact: Path, work: StageInput) -> None:
    """Make the root of a training from an artifact: base, experts and settings.

    Raises:
        MergeError: a file is not that of the manifest, the tasks are others than those of the
            experts, or there is something already.
    """
    manifest = read_manifest(artifact / MANIFEST)
    check_files(artifact, manifest)
    world = hash_of_world(bind(read_pool(work.sources)))
    check_same(
        "the tasks are not those that the experts were trained on",
        (f"{artifact / MANIFEST}", manifest["world"]["tasks"]),
        (f"{work.sources}", world),
        hint="use the version that the manifest names, or train again",
    )
    if work.root.exists():
        raise MergeError("already there", where=str(work.root), hint="name another --root")
    with (
        writing(work.root),
        TemporaryDirectory(prefix=f".{work.root.name}-", dir=work.root.parent) as new,
    ):
        partial = replace(work, root=Path(new) / "content")
        shutil.copytree(artifact / "experts", partial.root / "experts")
        write_json(partial.root / "training.json", read_json(artifact / "training.json"))
        settle(partial.root, asdict(work.plan))
        tensors = load_file(artifact / BASE)
        buffers = {name: tensors.pop(name) for name in BUFFERS}
        build_base(partial, {name: tensor.float() for name, tensor in tensors.items()}, buffers)
        partial.root.rename(work.root)
