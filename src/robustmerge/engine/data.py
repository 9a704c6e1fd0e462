"""Load the statistics a merge needs, or raise an error that says how to collect them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .. import methods
from ..adapter.reader import Adapter
from ..adapter.statistics import Selection, Statistics
from ..errors import MergeError
from ..statistic_kinds import kinds_of
from .recipe import Recipe


def find_data(
    recipe: Recipe,
    method: methods.Method,
    adapters: Sequence[Adapter],
    shapes: Mapping[str, tuple[int, int]],
) -> Selection | None:
    """Open the recipe's statistics, if its method needs any.

    Raises:
        MergeError: no statistics, or statistics of other adapters
    """
    if not method.needs:
        return None
    if recipe.data is None:
        raise MergeError(
            f"method {method.name!r} needs statistics of the adapters' tasks",
            where="--data",
            hint=_advice(method, [adapter.label for adapter in adapters]),
        )
    return Statistics(recipe.data).select(adapters, shapes, method.needs)


def data_notes(recipe: Recipe, method: methods.Method) -> tuple[str, ...]:
    """Warn of statistics that the method does not read."""
    if recipe.data is None or method.needs:
        return ()
    return (f"method {method.name} needs no data; {recipe.data} was not read",)


def check_model_needs(recipe: Recipe, method: methods.Method) -> tuple[str, ...]:
    """Check that what runs the base has what it needs; warn of samples that nothing reads.

    Raises:
        MergeError: no base, no samples, or steps and scales that a method with a model has not
    """
    user = f"method {method.name!r}" if method.run else "polishing" if recipe.polish else ""
    if not user:
        if not recipe.samples:
            return ()
        return (f"method {method.name} runs no model; no samples were read",)
    if recipe.base is None:
        raise MergeError(
            f"{user} runs the base model",
            where="--base",
            hint="--base MODEL, the folder or Hub id that the adapters were trained on",
        )
    check_samples(recipe, method)
    if recipe.polish is not None:
        _check_polish(recipe)
    return ()


def check_samples(recipe: Recipe, method: methods.Method) -> None:
    """Check that there are samples of every adapter, and nothing that the method is not made for.

    Raises:
        MergeError: no samples, or steps and scales that a method with a model has not
    """
    if len(recipe.samples) != len(recipe.adapters):
        raise MergeError(
            f"{len(recipe.samples)} files of samples for {len(recipe.adapters)} adapters",
            where="--samples",
            hint="one file of JSON lines per adapter, in their order; answers are not needed",
        )
    check_fitted(recipe, method)


def check_fitted(recipe: Recipe, method: methods.Method) -> None:
    """Check that no option changes what a method fits to the model.

    Raises:
        MergeError: the method runs the model, and steps, a scale rule or another such option is set
    """
    if not method.run:
        return
    unfit = {
        "steps around the method": recipe.balance or recipe.calibrate,
        "a scale rule": isinstance(recipe.scale, str),
        "a rank by energy": recipe.energy is not None,
        "other settings for some modules": recipe.modules,
        "merging DoRA adapters": recipe.dora != "refuse",
    }
    for what, used in unfit.items():
        if used:
            raise MergeError(
                f"method {method.name!r} does not go with {what}",
                hint="leave it out: sizes are fitted to the model, at a rank that has to be known "
                "before",
            )


def _check_polish(recipe: Recipe) -> None:
    """Check that gradient steps can be taken from the merge."""
    if recipe.dora != "refuse":
        raise MergeError(
            "polishing does not train DoRA's magnitude vectors",
            where=f"--dora {recipe.dora}",
            hint="leave --polish out",
        )
    weights = recipe.coefficients
    if min(weights) < 0 or max(weights) == 0:
        raise MergeError(
            "the weights are those of the tasks' divergences in polishing, and these are not "
            "possible",
            where=f"weights {list(weights)}",
            hint="weights from 0 on, such as --weights 1,1,0.5",
        )


def _advice(method: methods.Method, labels: Sequence[str]) -> str:
    return (
        f"robustmerge collect {' '.join(labels)} --base MODEL --samples FILE.jsonl … "
        f"--what {' '.join(kinds_of(method.needs))} -o stats gathers them; then --data stats"
    )
