"""What carries out a method, and what comes after it: the parts that run a model among them.

Methods that run the base model, and polishing, are imported when they are used: the engine does not
know them, and their libraries are not part of the base installation.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import MergeError
from ..threads import Progress
from .plan import MergePlan
from .polishing import parse_polish
from .recipe import Recipe
from .run import MergeRun, RunFacts

_LIBRARIES = ("transformers", "peft", "accelerate", "PIL", "tokenizers")
_POLISH = "robustmerge.polish.folder:polish_folder"


def start_run(
    recipe: Recipe,
    plan: MergePlan,
    *,
    device: str,
    workers: int | None,
    work: str | Path | None = None,
) -> MergeRun:
    """Return the run of a plan.

    A method that runs the base model names its own.

    Raises:
        MergeError: a library is not installed, a device that does not exist, or a folder for
            unfinished work that the method has no use for
    """
    if not plan.method.run:
        if work is not None:
            raise MergeError(
                f"method {plan.method.name!r} keeps no unfinished work",
                where=f"--work {work}",
                hint="leave it out",
            )
        return MergeRun(plan, device=device, workers=workers)
    kind = load_runner(plan.method.run, f"method {plan.method.name!r}")
    run: MergeRun = kind(recipe, plan, device=device, work=work)
    return run


def polish_merge(
    recipe: Recipe,
    plan: MergePlan,
    weights: Path,
    *,
    rank: int,
    device: str,
    progress: Progress,
) -> RunFacts:
    """Take gradient steps from a merge that is being written, if the recipe says so.

    Args:
        recipe: What is merged, and how.
        plan: What followed from it.
        weights: The merged adapter's file, in a folder that is being filled.
        rank: Its rank.
        device: Where to compute.
        progress: Called with the steps done and the steps in all.

    Raises:
        MergeError: a library is not installed, or what a model or its samples are refused for
    """
    if recipe.polish is None:
        return RunFacts()
    polish = load_runner(_POLISH, "polishing")
    settings = parse_polish(recipe.polish)
    facts: RunFacts = polish(
        recipe, plan, weights, settings, rank=rank, device=device, progress=progress
    )
    return facts


def load_runner(path: str, user: str) -> Any:
    """Import what runs a model.

    Args:
        path: MODULE:NAME.
        user: What needs it, in messages.

    Raises:
        MergeError: a library is not installed
    """
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name not in _LIBRARIES:
            raise
        raise MergeError(
            f"{user} runs a model and needs {error.name}, which is not installed",
            hint="pip install 'robustmerge[collect]'",
        ) from None
