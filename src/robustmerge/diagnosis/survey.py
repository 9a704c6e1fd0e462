"""Measure everything in one module, as rows of the tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..factors import Factors, Stack
from .contributions import Contribution, UpdateSum, measure_sum
from .core_updates import CoreSpace
from .cross_terms import CrossTerms, measure_cross_terms
from .direction import Curve, Direction, follow_directions, match_directions
from .pairs import PairOverlap, compare_pairs
from .retention import Retention, measure_retention
from .shared_directions import SharedDirections, measure_shared_directions
from .signs import Signs, measure_signs
from .spectrum import Spectrum, measure_spectrum
from .unattributed import Unattributed, split_energy
from .values import Histogram, Values, measure_values, sample_entries

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
    """The updates of one module.

    Attributes:
        stack: The adapters' updates; its weights are not used.
        merged: The merges' updates.
        base: Norm of the base's weight, None without a base.
    """

    stack: Stack
    merged: tuple[Factors, ...]
    base: float | None = None


def survey_module(
    inputs: ModuleInputs, adapters: Sequence[str], merges: Sequence[str]
) -> Iterator[Row]:
    """Measure a module; `adapters` and `merges` are names for the rows."""
    stack, module, names = inputs.stack, inputs.stack.module, tuple(adapters)
    space, entries = CoreSpace.of(stack.factors), sample_entries(stack)
    for name, task in zip(names, space.tasks, strict=True):
        yield measure_spectrum(module, name, "adapter", task, inputs.base)
    yield from measure_values(stack, names, entries)
    yield from compare_pairs(module, names, space, entries)
    yield measure_signs(stack, entries)
    yield from measure_shared_directions(module, space)
    yield measure_cross_terms(module, space)
    yield from measure_sum(module, names, space)
    for merge, update in zip(merges, inputs.merged, strict=True):
        yield from _survey_merge(module, names, merge, space, update, inputs.base)


def _survey_merge(
    module: str,
    names: tuple[str, ...],
    merge: str,
    space: CoreSpace,
    update: Factors,
    base: float | None,
) -> Iterator[Row]:
    """Compare a merge with the adapters."""
    tasks, merged = space.with_merged(update)
    yield measure_spectrum(module, merge, "merge", merged, base)
    for name, task in zip(names, tasks, strict=True):
        yield from follow_directions(module, name, merge, task, merged, match_directions)
        yield measure_retention(module, name, merge, task, merged)
    yield split_energy(module, merge, space, tasks, merged)
