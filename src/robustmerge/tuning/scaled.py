r"""Merges at any scale from one merge: B times a factor.

    c · (B A) = (c B) A

A plain LoRA has its whole update in B A, and a rank cut does not depend on the scale, so that the
merge at scale c is the merge at scale 1 with every B times c, up to rounding in the last digit.
So a search that moves the scale, of the model or of some modules, merges once and multiplies files:
trial merges are in float32. Fully trained parameters have no scale and are copied.

What does depend on the scale is merged again: a scale rule, a method that runs the base model,
gradient steps, and the layout of the original LLaVA, whose tensors are in two files.

Cost of a factor: the adapter's bytes read and written once.
"""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from .. import methods
from ..adapter import layout
from ..adapter.keys import Part, parse
from ..adapter.tensors import open_tensors
from ..adapter.writer import opened_writer
from ..engine.merge import CARD, RECORD, WEIGHTS, merge_recipe
from ..engine.recipe import Recipe

_KEPT = 2
"""Merges at scale 1 that stay on the disk, the last ones."""
_SECOND = "adapter_model.bin"
"""The file in which the layout of the original LLaVA has all tensors once more."""


@dataclass
class MergesSpent:
    """What a search has spent on merges."""

    merges: int = 0
    rescaled: int = 0
    seconds: float = 0.0

    def add(self, other: MergesSpent, sign: int = 1) -> MergesSpent:
        """Add what was spent elsewhere, or take it off."""
        self.merges += sign * other.merges
        self.rescaled += sign * other.rescaled
        self.seconds += sign * other.seconds
        return self


class MergeStore:
    """Merges on the disk, in temporary folders that go with the store."""

    def __init__(self, folder: Path, *, device: str = "cpu", workers: int | None = None) -> None:
        """Keep merges under a folder, which exists."""
        self._home = TemporaryDirectory(dir=folder, prefix=".merges-")
        self._device, self._workers = device, workers
        self._merges: OrderedDict[str, TemporaryDirectory[str]] = OrderedDict()
        self.spent = MergesSpent()

    def close(self) -> None:
        """Remove all merges."""
        for folder in self._merges.values():
            folder.cleanup()
        self._home.cleanup()

    @contextmanager
    def merged(self, recipe: Recipe) -> Iterator[Path]:
        """Yield the folder of a recipe's merge in float32, which is there in the block only.

        Raises:
            MergeError: the recipe cannot be merged.
        """
        recipe = replace(trimmed(recipe), dtype="float32")
        begin = perf_counter()
        folder = self._merge(unscaled(recipe) or recipe)
        if unscaled(recipe) is not None and (folder / _SECOND).exists():
            folder = self._merge(recipe)
        elif unscaled(recipe) is not None:
            with TemporaryDirectory(dir=self._home.name) as scaled:
                target = Path(scaled) / "merged"
                rescale(folder, target, lambda module: scale_of(recipe, module))
                self.spent.rescaled += 1
                self.spent.seconds += perf_counter() - begin
                yield target
            return
        self.spent.seconds += perf_counter() - begin
        yield folder

    def as_written(self, recipe: Recipe) -> Path:
        """Return the folder of a recipe's merge in its own type, which stays for a while.

        Raises:
            MergeError: the recipe cannot be merged.
        """
        begin = perf_counter()
        folder = self._merge(trimmed(recipe))
        self.spent.seconds += perf_counter() - begin
        return folder

    def _merge(self, recipe: Recipe) -> Path:
        key = json.dumps(recipe.to_dict(), sort_keys=True)
        if key not in self._merges:
            while len(self._merges) >= _KEPT:
                self._merges.popitem(last=False)[1].cleanup()
            home = TemporaryDirectory(dir=self._home.name)
            target = Path(home.name) / "merged"
            try:
                merge_recipe(recipe, target, device=self._device, workers=self._workers)
            except BaseException:
                home.cleanup()
                raise
            self.spent.merges += 1
            self._merges[key] = home
        self._merges.move_to_end(key)
        return Path(self._merges[key].name) / "merged"


def trimmed(recipe: Recipe) -> Recipe:
    """Return a recipe without the samples that its own merge does not read."""
    reads = methods.get(recipe.method).run or recipe.polish is not None
    return recipe if reads or not recipe.samples else replace(recipe, samples=())


def unscaled(recipe: Recipe) -> Recipe | None:
    """Return the recipe at scale 1 in all modules; None where its scale is no mere factor."""
    scales = (recipe.scale, *(o.scale for o in recipe.modules))
    if methods.get(recipe.method).run or recipe.polish is not None:
        return None
    if any(isinstance(scale, str) for scale in scales):
        return None
    overrides = tuple(replace(o, scale=None) for o in recipe.modules)
    kept = tuple(o for o in overrides if o.parameters or o.weights)
    return replace(recipe, scale=1.0, modules=kept)


def scale_of(recipe: Recipe, module: str) -> float:
    """Return the factor of a module by its canonical name, where no scale is a rule."""
    scales = [recipe.scale, *(o.scale for o in recipe.modules if o.covers(module))]
    return float(next(scale for scale in reversed(scales) if scale is not None))


def rescale(source: Path, target: Path, factor_of: Callable[[str], float]) -> None:
    """Write a merge with every B times its module's factor.

    Args:
        source: A folder that `merge` wrote.
        target: The folder to write, which does not exist.
        factor_of: Returns a module's factor by its canonical name.
    """
    target.mkdir()
    for file in source.iterdir():
        if file.name not in (WEIGHTS, RECORD, CARD):
            shutil.copyfile(file, target / file.name)
    with (
        closing(open_tensors(source / WEIGHTS)) as tensors,
        opened_writer(target / WEIGHTS, tensors.specs) as writer,
    ):
        for name in tensors.specs:
            value, key = tensors.read(name), parse(name)
            if key is not None and key.part in (Part.B, Part.EMBEDDING_B):
                value *= factor_of(layout.canonical(key.module))
            writer.write(name, value)
