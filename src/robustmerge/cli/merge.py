"""`robustmerge merge`: adapters in, one adapter out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ..errors import MergeError

if TYPE_CHECKING:
    from ..engine.recipe import Recipe


def merge(
    sources: Annotated[list[str], Parameter(consume_multiple=True)],
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    method: Annotated[str | None, Parameter(name=["--method", "-m"])] = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    weights: str | None = None,
    balance: Annotated[list[str] | None, Parameter(negative="")] = None,
    calibrate: Annotated[list[str] | None, Parameter(negative="")] = None,
    scale: str | None = None,
    scale_over: Literal["model", "module"] | None = None,
    rank: str | None = None,
    dtype: Literal["float32", "float16", "bfloat16"] | None = None,
    base: str | None = None,
    same_base: Annotated[bool, Parameter(negative="")] = False,
    missing: Literal["refuse", "zero", "drop"] | None = None,
    layout: Literal["hf", "hf-old", "flat", "llava"] | None = None,
    extras: Literal["mean", "sum"] | None = None,
    extras_in: Literal["adapter", "beside"] | None = None,
    dora: Literal["refuse", "mean"] | None = None,
    data: str | None = None,
    seed: int | None = None,
    plugin: Annotated[list[str] | None, Parameter(negative="")] = None,
    device: str = "cpu",
    workers: int | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Merge adapters into one adapter.

    The default method is robustmerge. `robustmerge methods` lists all methods and their parameters.

    Args:
        sources: Adapter folders or Hub ids owner/name[@revision][:subfolder], or one recipe.yaml.
        output: Folder to write. It appears whole or not at all.
        method: Merge method.
        set_: A parameter of the method as name=value; may be given several times.
        weights: One coefficient per adapter, such as 1,1,0.5.
        balance: A step before the merge, as name or name:parameter=value,parameter=value; may be
            given several times.
        calibrate: A step after the merge, likewise.
        scale: One factor on every merged update, or the rule it is found by: mean, norm-matched or
            geometric-middle.
        scale_over: Whether a rule finds one factor for the model, or one for every module.
        rank: Rank of the result: input, full, a number, or energy:0.99.
        dtype: Type of the result; that of the inputs unless given.
        base: The base model, a folder or Hub id: named in the result, and read for fully
            trained parameters.
        same_base: The adapters' different base names mean the same model.
        missing: Modules that some adapters lack: refuse, count as zero, or drop.
        layout: How modules are named in the result; as in the first adapter unless given.
        extras: Fully trained parameters: mean, or sum of changes to the base.
        extras_in: Write those into the adapter, or to a file beside it.
        dora: DoRA adapters: refuse, or merge their updates and take the mean of their magnitudes.
        data: Folder that `robustmerge collect` wrote, for methods that need statistics.
        seed: Seed of random methods.
        plugin: A Python file or module that registers methods of your own; may be given several
            times.
        device: Where to compute: cpu or cuda.
        workers: Modules computed side by side; all cores unless given.
        dry_run: Check and show the plan; read headers only, write nothing.
        json: Print the result as JSON.
        force: Replace an adapter that is already there.
    """
    given = {
        "method": method,
        "weights": _weights(weights),
        "balance": balance and tuple(balance),
        "calibrate": calibrate and tuple(calibrate),
        "scale": _scale(scale),
        "scale_over": scale_over,
        "rank": rank,
        "dtype": dtype,
        "base": base,
        "same_base": same_base or None,
        "missing": missing,
        "layout": layout,
        "extras": extras,
        "extras_in": extras_in,
        "dora": dora,
        "data": data,
        "seed": seed,
        "plugins": plugin and tuple(plugin),
    }
    recipe, named = _recipe(sources, {k: v for k, v in given.items() if v is not None}, set_ or [])
    target = output or (Path(named) if named else None)

    from . import show_merge

    if dry_run:
        show_merge.plan(recipe, as_json=json)
        return
    if target is None:
        raise MergeError("no output", hint="-o FOLDER says where to write the merged adapter")
    show_merge.run(recipe, target, device=device, workers=workers, force=force, as_json=json)


def _recipe(
    sources: list[str], given: dict[str, Any], settings: list[str]
) -> tuple[Recipe, str | None]:
    """The recipe from a file or from the options; options win over the file."""
    from ..engine.recipe import Recipe

    parameters = dict(_setting(text) for text in settings)
    if len(sources) == 1 and sources[0].endswith((".yaml", ".yml")):
        recipe, output = Recipe.load(Path(sources[0]))
        if "method" in given and given["method"] != recipe.method:
            recipe = replace(recipe, parameters={})
        return replace(recipe, **given, parameters={**recipe.parameters, **parameters}), output
    return Recipe(adapters=tuple(sources), parameters=parameters, **given), None


def _weights(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise MergeError(
            f"weights {text!r} are not numbers", where="--weights", hint="such as --weights 1,1,0.5"
        ) from None


def _scale(text: str | None) -> float | str | None:
    """A number where it is one; the recipe knows the rules."""
    try:
        return text if text is None else float(text)
    except ValueError:
        return text


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise MergeError(
            f"{text!r} is not name=value", where="--set", hint="such as --set density=0.3"
        )
    return name.strip().replace("-", "_"), value.strip()
