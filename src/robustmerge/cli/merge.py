"""`robustmerge merge`: adapters in, one adapter out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from cyclopts import Parameter

from ..engine.options import MergeOptions
from ..errors import MergeError
from ..parameters import read_settings

if TYPE_CHECKING:
    from ..engine.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class CommandOptions(MergeOptions):
    """Merge options that know which of them are written in the command."""

    names: ClassVar[frozenset[str]] = frozenset()

    def __new__(cls, **options: object) -> CommandOptions:
        """Keep the names of the options that are passed; __init__ stores the values."""
        self = super().__new__(cls)
        object.__setattr__(self, "names", frozenset(options))
        return self

    def over(self, recipe: Recipe) -> Recipe:
        """Return the recipe with the options of the command instead of its own."""
        if "method" in self.names and self.method != recipe.method:
            recipe = replace(recipe, parameters={})  # they belong to the recipe's method
        return replace(recipe, **{name: getattr(self, name) for name in self.names})


DEFAULTS = CommandOptions()
"""What a command has that names no option."""


def merge(
    sources: Annotated[list[str], Parameter(consume_multiple=True)],
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    options: Annotated[CommandOptions, Parameter(name="*")] = DEFAULTS,
    device: str = "cpu",
    workers: int | None = None,
    work: Path | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Merge adapters into one adapter.

    The default method is drift, which needs nothing but the adapters and has no scale to choose;
    --method robustmerge is the paper's. `robustmerge methods` lists all methods and parameters.

    Args:
        sources: Adapter folders or Hub ids owner/name[@revision][:subfolder], or one recipe.yaml.
        output: Folder to write. It appears whole or not at all.
        set_: A parameter of the method as name=value; may be given several times.
        options: Options that a recipe has, too.
        device: Where to compute: cpu or cuda.
        workers: Modules computed side by side; all cores unless given.
        work: Folder for unfinished work of a method that runs the base model: stopped, the same
            command goes on from there.
        dry_run: Check and show the plan; read headers only, write nothing, run no plugins but
            those of the command.
        json: Print the result as JSON.
        force: Replace a merge that is already there.
    """
    from . import show_merge

    recipe, recipe_output = read_recipe(sources, options, set_ or [])
    target = output or (Path(recipe_output) if recipe_output else None)
    if dry_run:
        # Code that a recipe names is run by a merge; that of the command, by whoever typed it.
        named = options.plugins if "plugins" in options.names else ()
        show_merge.plan(recipe, named, as_json=json)
        return
    if target is None:
        raise MergeError("no output", hint="-o FOLDER says where to write the merged adapter")
    show_merge.run(
        recipe, target, device=device, workers=workers, work=work, force=force, as_json=json
    )


def read_recipe(
    sources: Sequence[str], options: CommandOptions, settings: Sequence[str]
) -> tuple[Recipe, str | None]:
    """Return the recipe and the output it names; options of the command win over a file's."""
    from ..engine.recipe import Recipe

    output = None
    if len(sources) == 1 and sources[0].endswith((".yaml", ".yml")):
        recipe, output = Recipe.load(Path(sources[0]))
    else:
        recipe = Recipe(tuple(sources))
    recipe = options.over(recipe)
    own = read_settings(settings, where="--set", hint="such as --set density=0.3")
    return replace(recipe, parameters={**recipe.parameters, **own}), output
