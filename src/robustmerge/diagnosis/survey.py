"""One module: everything that is measured of it, as rows of the tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..factors import Factors, Stack
from .contributions import Contribution, UpdateSum, total
from .core_updates import CoreSpace
from .cross_terms import CrossTerms, apart
from .direction import Curve, Direction, assignment, directions
from .pairs import PairOverlap, pairs
from .retention import Retention, kept
from .shared_directions import SharedDirections, crowding
from .signs import Signs, signs
from .spectrum import Spectrum, spectrum
from .unattributed import Unattributed, noise
from .values import Histogram, Values, sample, values

Row = (
    CrossTerms
    | SharedDirections
    | Curve
    | Direction
    | Contribution
    | Histogram
    | Retention
    | Unattributed
    | PairOverlap
    | Signs
    | Spectrum
    | UpdateSum
    | Values
)


@dataclass(frozen=True)
class ModuleInputs:
    """One module as it was read.

    Attributes:
        stack: The adapters' updates; the weights do not matter.
        merged: The merges' updates.
        base: Norm of the base's weight, if there is a base.
    """

    stack: Stack
    merged: tuple[Factors, ...]
    base: float | None = None


def survey(given: ModuleInputs, adapters: Sequence[str], merges: Sequence[str]) -> Iterator[Row]:
    """Measure a module; `adapters` and `merges` are names for the rows."""
    module, names = given.stack.module, tuple(adapters)
    space, entries = CoreSpace.of(given.stack.factors), sample(given.stack)
    for name, task in zip(names, space.tasks, strict=True):
        yield spectrum(module, name, "adapter", task, given.base)
    yield from values(given.stack, names, entries)
    yield from pairs(module, names, space, entries)
    yield signs(given.stack, entries)
    yield from crowding(module, space)
    yield apart(module, space)
    yield from total(module, names, space)
    for merge, update in zip(merges, given.merged, strict=True):
        yield from _after(module, names, merge, space, update, given.base)


def _after(
    module: str,
    names: tuple[str, ...],
    merge: str,
    space: CoreSpace,
    update: Factors,
    base: float | None,
) -> Iterator[Row]:
    """What a merge has made of the adapters."""
    tasks, merged = space.with_merged(update)
    yield spectrum(module, merge, "merge", merged, base)
    for name, task in zip(names, tasks, strict=True):
        yield from directions(module, name, merge, task, merged, assignment)
        yield kept(module, name, merge, task, merged)
    yield noise(module, merge, space, tasks, merged)
