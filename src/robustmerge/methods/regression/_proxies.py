r"""Second moments of each task's inputs, estimated from the adapters alone.

    C_t = Σ_k D_t^k^T D_t^k                      D_t^k the drift of A, k over modules of one input

for an adapter whose start others share. Where each A has a start of its own, drift is known too
badly to distinguish tasks, but well enough for what all share, read off the *other*
modules of the layer's residual stream, so that no A speaks for itself:

    C̄ = Σ_t Σ_k D_t^k^T D_t^k                    eigenvalues less their median, at least 0
    C_t = C̄ / tr C̄ + own Σ_k Δ_t^k^T Δ_t^k / tr

Modules that share their input with no other, such as those after attention, use their own drift in
both. All of it is in coordinates of the module's core, Q_A.

Cost: O(d_in R^2) per module and member of its stream for the sum of ranks R, in a pass of its own;
it keeps Σ_k R q numbers per module of a core of width q, in float32.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...basis import Basis
from ...errors import MergeError
from ...factors import EachModule, Factors, Stack
from ...families import ModuleInput
from ...linalg import ROUNDING, compact_svd
from ...threads import hand_back_freed_memory
from ._starts import AssumedStart, Starts, StartSums, drifts, expected_drift

Proxy = Literal["drift", "rows", "none"]

_INDEPENDENT = 0.1 / ROUNDING
"""A matrix's norm times its inverse's, up to which none of its directions is rounding."""
_OFTEN = 4
"""Modules after which freed memory is handed back: about once a layer."""


@dataclass(frozen=True)
class InputRows:
    """Rows whose second moments stand for the inputs of one module, in coordinates of its core.

    Attributes:
        rows: Of each adapter: the drift of its A where others share its start, or its update's.
        known: Whether they are the drift.
        common: C̄, not normalized, where drift counts and some of it is not known.
        width: How many input directions the updates have.
    """

    rows: tuple[Float[Tensor, "_ q"], ...]
    known: tuple[bool, ...]
    common: Float[Tensor, "q q"] | None
    width: int

    def copy(self, dtype: torch.dtype) -> InputRows:
        """Return the same in memory of its own, in a type."""
        rows = tuple(of.to(dtype, copy=True) for of in self.rows)
        common = None if self.common is None else self.common.to(dtype, copy=True)
        return replace(self, rows=rows, common=common)

    def moments(self, own: float) -> Float[Tensor, "task q q"]:
        """Return C_t for every adapter, in float64."""
        C = torch.stack([_unit(rows.T @ rows) for rows in map(Tensor.double, self.rows)])
        if self.common is not None:
            guessed = ~torch.tensor(self.known)
            C[guessed] = _unit(self.common.double()) + own * C[guessed]
        return C


@dataclass(frozen=True)
class SurveySettings:
    """The parameters that the first pass depends on."""

    start: AssumedStart
    proxy: Proxy
    pool: bool


@dataclass(frozen=True)
class ModelSurvey:
    """What a first pass over all modules finds: starts and norms, and what modules share.

    Attributes:
        starts: Of the adapters as wholes.
        settings: What the pass was made with.
        shared: Inputs of the modules that share a residual stream with others. Those of any other
            module follow from its own updates, and are read off them when it is merged.
    """

    starts: Starts
    settings: SurveySettings
    shared: Mapping[str, InputRows]

    def inputs_of(self, stack: Stack, A: Basis, inside: Sequence[Factors]) -> InputRows:
        """Return the rows that stand for a module's inputs.

        Args:
            stack: Its updates.
            A: The basis of their input directions.
            inside: The updates in the coordinates of the core.
        """
        kept = self.shared.get(stack.module)
        return kept or _rows_of_module(stack, A, inside, self.starts, self.settings)


def survey(each: EachModule, parameters: Sequence[Mapping[str, Any]]) -> ModelSurvey:
    """Look at the adapters as wholes, and at what the modules of one residual stream read.

    Memory: what is kept is of modules that share a stream: five of seven in a dense layer, none of
    fused experts, gate and up of single experts. It is R^2 float32 numbers for the ranks' sum R
    from each module that reads the same input, and R^2 more where starts are guessed: 48 kB of an
    expert's gate for four adapters of rank 16.
    """
    settings = _common_settings(parameters)
    streams: Counter[str] = Counter()
    starts = Starts.of(_counted(each(StartSums.of), streams), settings.start)
    if max(streams.values(), default=0) < 2:
        return ModelSurvey(starts, settings, {})
    waiting: dict[str, list[Stack]] = defaultdict(list)
    inputs: dict[str, InputRows] = {}

    def narrowed(stack: Stack) -> Stack | None:
        shares = streams[ModuleInput.of(stack.module).stream] > 1
        return _without_outputs(stack) if shares else None

    for stack in filter(None, each(narrowed)):
        stream = ModuleInput.of(stack.module).stream
        waiting[stream].append(stack)
        if len(waiting[stream]) == streams[stream]:
            rows = _rows_of_stream(waiting.pop(stream), starts, settings)
            # Copied when the long rows are gone: what stays must not lie between them in memory.
            # Their last digits are those of the files, so that float32 is enough for float32 ones.
            dtype = torch.promote_types(stack.factors[0].A.dtype, torch.float32)
            inputs |= {module: of.copy(dtype) for module, of in rows.items()}
            if len(inputs) % _OFTEN < len(rows):  # it takes 50 ms
                hand_back_freed_memory()
    return ModelSurvey(starts, settings, inputs)


def _counted(sums: Iterable[StartSums], streams: Counter[str]) -> Iterator[StartSums]:
    """Count the modules of every stream on the way."""
    for of in sums:
        streams[ModuleInput.of(of.module).stream] += 1
        yield of


def _common_settings(parameters: Sequence[Mapping[str, Any]]) -> SurveySettings:
    """Return what the first pass needs to know.

    Raises:
        MergeError: modules with different settings of it.
    """
    names = [field.name for field in fields(SurveySettings)]
    first, *others = {tuple(each[name] for name in names): None for each in parameters}
    if others:
        raise MergeError(
            f"{', '.join(names)} are about whole adapters, and modules differ in them: "
            f"{first} and {others[0]}",
            where="modules",
            hint=f"give all modules the same {', '.join(names)}",
        )
    return SurveySettings(*first)


def _rows_of_stream(
    stacks: Sequence[Stack], starts: Starts, settings: SurveySettings
) -> dict[str, InputRows]:
    """Return the rows of all modules that read one residual stream."""
    drift = {stack.module: drifts(stack, starts) for stack in stacks}
    factors = {stack.module: stack.factors for stack in stacks}
    names = {module: ModuleInput.of(module).name for module in drift}
    result = {}
    for stack in stacks:
        module = stack.module
        inside, width = _span(stack)
        alike = [m for m in drift if names[m] == names[module]] if settings.pool else [module]
        others = [m for m in drift if m != module] or [module]
        rows: list[tuple[Tensor, bool]] = []
        for t, kind in enumerate(starts.kinds):
            moved = torch.cat([drift[m][t] for m in alike])
            known = settings.proxy == "drift" and kind == "shared" and bool(moved.any())
            of = moved if known else _rows_of([factors[m][t] for m in alike])
            rows.append((of @ inside, known))  # at once, since the long rows are the most memory
        common = None
        if settings.proxy == "drift" and not all(known for _, known in rows):
            every = torch.cat([*chain(*(drift[m] for m in others))])
            common = _above_median(every @ inside, width)
        short, known_of = zip(*rows, strict=True)
        result[module] = InputRows(short, known_of, common, width)
    return result


def _rows_of_module(
    stack: Stack, A: Basis, inside: Sequence[Factors], starts: Starts, settings: SurveySettings
) -> InputRows:
    """Return the rows of a module that shares its stream with no other, in its core's coordinates.

    All that is linear in A is computed there, from R numbers a row instead of d_in.
    """
    guessed = [t for t, kind in enumerate(starts.kinds) if kind == "independent"]
    own = [expected_drift(stack.factors[t].A.double()) for t in guessed]
    turned = A.project(torch.cat([*own, A.H.new_zeros(0, len(A.H))]).T).T  # [guessed·rank, q]
    expected = dict(zip(guessed, torch.split(turned, [len(of) for of in own]), strict=True))
    moved = drifts(replace(stack, factors=tuple(inside)), starts, expected)
    drifted = [
        kind == "shared" and bool(d.any()) for kind, d in zip(starts.kinds, moved, strict=True)
    ]
    known = tuple(settings.proxy == "drift" and of for of in drifted)
    rows = [d if of else f.dense() for f, d, of in zip(inside, moved, known, strict=True)]
    axes = _axes(A.R)
    common = None
    if settings.proxy == "drift" and not all(known):
        common = _above_median(torch.cat(moved) @ axes @ axes.T, axes.shape[1])
    return InputRows(tuple(of @ axes @ axes.T for of in rows), known, common, axes.shape[1])


def _axes(R: Float[Tensor, "q n"]) -> Float[Tensor, "q k"]:
    """Return the directions that columns have, all of them where none is rounding."""
    eye = torch.eye(len(R)).to(R)
    if R.shape[0] == R.shape[1] and R.diagonal().all():
        inverse = torch.linalg.solve_triangular(R, eye, upper=True)
        if R.norm() * inverse.norm() < _INDEPENDENT:
            return eye
    return compact_svd(R)[0]


def _without_outputs(stack: Stack) -> Stack:
    """Return updates with the same second moments of rows, and as few outputs as they can have."""
    narrow = tuple(Factors(f.A, _root(f.B)) for f in stack.factors)
    return replace(stack, factors=narrow)


def _root(B: Float[Tensor, "d_out rank"]) -> Float[Tensor, "rank rank"]:
    """Return R with R^T R = B^T B."""
    gram = B.double().T @ B.double()
    L, V = torch.linalg.eigh(gram)
    root: Tensor = L.clamp_min(0).sqrt()[:, None] * V.T
    return root


def _rows_of(updates: Sequence[Factors]) -> Float[Tensor, "rows d_in"]:
    """Return the rows of some updates, one below the other."""
    return torch.cat([f.B @ f.A.double() for f in updates])


def _span(stack: Stack) -> tuple[Float[Tensor, "d_in q"], int]:
    """Return what takes rows to the core's coordinates, and how many directions A has there.

    Parts of rows outside these directions are left out: where the A's depend on each other, the
    other directions of the core are arbitrary.
    """
    basis = Basis.of(torch.cat([f.A for f in stack.factors]).T)  # of [d_in, R]
    axes = _axes(basis.R)  # [q, k]
    return basis.lift(axes @ axes.T), axes.shape[1]


def _above_median(rows: Float[Tensor, "rows q"], width: int) -> Float[Tensor, "q q"]:
    """Return second moments whose eigenvalues are lowered by their median, to 0 at least.

    The median is over the `width` largest; the others are of directions that there are not.
    """
    L, V = torch.linalg.eigh(rows.T @ rows)
    if not width:
        return rows.T @ rows
    lowered: Tensor = V * (L - L[-width:].quantile(0.5)).clamp_min(0) @ V.T
    return lowered


def _unit(C: Float[Tensor, "q q"]) -> Float[Tensor, "q q"]:
    """Return a matrix of trace 1, or zero as it is."""
    trace = C.trace()
    return C / trace.where(trace > 0, 1)
