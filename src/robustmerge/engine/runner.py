"""What carries out a method: a pass over all modules, or what the method itself names."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ..errors import MergeError
from .plan import MergePlan
from .recipe import Recipe
from .run import MergeRun

_LIBRARIES = ("transformers", "peft", "accelerate", "PIL", "tokenizers")


def start_run(
    recipe: Recipe,
    plan: MergePlan,
    *,
    device: str,
    workers: int | None,
    work: str | Path | None = None,
) -> MergeRun:
    """Return the run of a plan.

    A method that runs the base model names its own, which is imported here: the engine does not
    know such methods, and their libraries are not part of the base installation.

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
    module, _, name = plan.method.run.partition(":")
    try:
        kind = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name not in _LIBRARIES:
            raise
        raise MergeError(
            f"method {plan.method.name!r} runs a model and needs {error.name}, which is not "
            "installed",
            hint="pip install 'robustmerge[collect]'",
        ) from None
    run: MergeRun = kind(recipe, plan, device=device, work=work)
    return run
