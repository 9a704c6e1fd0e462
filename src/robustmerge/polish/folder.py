"""Polish the adapter in a folder that is being written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load, save_file

from ..adapter.writer import saving
from ..engine.job import ModuleJob
from ..engine.plan import MergePlan
from ..engine.polishing import PolishSettings
from ..engine.recipe import Recipe
from ..engine.run import RunFacts
from ..errors import MergeError, few
from ..factors import Factors
from ..threads import Progress
from .session import Distillation


def polish_folder(
    recipe: Recipe,
    plan: MergePlan,
    weights: Path,
    settings: PolishSettings,
    *,
    rank: int,
    device: str,
    progress: Progress,
) -> RunFacts:
    """Train the factors in an adapter's file, and write them in the place of the merge's.

    Where no step gets better on held-out prompts, the file stays as it is, byte for byte.

    Args:
        recipe: What is merged, with base and samples.
        plan: What followed from it.
        weights: The adapter's file, in a folder that is being filled.
        settings: How it is polished.
        rank: The adapter's rank.
        device: Where to compute.
        progress: Called with the steps done and the steps in all.

    Raises:
        MergeError: samples or a model that do not fit, a device out of memory, a loss that is not
            finite
    """
    if odd := [job.name for job in plan.jobs if job.wrapped or job.kernel]:
        raise MergeError(
            "fused experts, other parameters and convolutions are not polished",
            where=few(odd),
            hint="merge without --polish",
        )
    tensors = load(weights.read_bytes())
    start = {
        job.name: Factors(tensors[a].float(), tensors[b].float()) for job, a, b in _names(plan)
    }
    work = Distillation(recipe, plan, settings, rank=rank, device=device, progress=progress)
    factors, facts = work.run(start)
    if factors is not start:
        for job, a, b in _names(plan):
            tensors[a], tensors[b] = factors[job.name].A, factors[job.name].B
        with saving(weights):
            save_file(tensors, weights, metadata={"format": "pt"})
    return facts


def _names(plan: MergePlan) -> Iterator[tuple[ModuleJob, str, str]]:
    """Yield every module with the names of its A and B in the file."""
    for job in plan.jobs:
        yield job, job.tensors.a, job.tensors.b
