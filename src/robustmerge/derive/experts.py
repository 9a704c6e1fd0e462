r"""Updates of experts under other names: fused or one by one, gate and up together or apart.

    fused         one parameter of all experts, as PEFT's target_parameters saves it
    experts       one module of every expert: experts.0.gate_up_proj, experts.0.down_proj
    projections   one module of every layer: experts.0.gate_proj, …, as vLLM and transformers 4
                  call them, each family by its own names
    sglang        the same under one set of names, gate_proj, up_proj and down_proj
    sglang-shared 3-D tensors of all experts, of which A of gate and up and B of down are one for
                  all, as SGLang's trainers save them (`adapter.stacked`)

Gate and up have the same inputs, so that an update of gate_up_proj is two updates of one A. Two
updates are one of gate_up_proj, of the sum of the ranks where they differ in A:

    A = [A_gate; A_up]    B = [[B_gate, 0], [0, B_up]]

Which outputs are the gate's, and whether PEFT's factors are those of transposed weights, is what
the family of models says; the latter is read from shapes where both parameters are adapted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch.nn.functional import pad

from ..adapter.expert_families import SINGLE_EXPERT, ExpertStorage
from ..adapter.factor_writer import FactorTensors
from ..adapter.keys import Part
from ..adapter.reader import Adapter
from ..adapter.stacked import StackedLayer
from ..adapter.wrapped import DOWN, GATE_UP, WrappedParameter, orientation
from ..errors import MergeError
from ..factors import Factors


@dataclass(frozen=True)
class NamedUpdate:
    """An update under the name that it is written by.

    Attributes:
        written: The module's name.
        shape: (d_out, d_in).
        rank: Its rank.
        read: Reads its factors.
        part: Part.A for linear layers, Part.EMBEDDING_A for embeddings.
        wrapped: The parameter that it is, or the expert's part of it, where PEFT is to wrap it.
        kernel: A's shape behind the rank, for convolutions.
        stacked: The layer of all experts whose tensors it is a part of, where they are 3-D.
    """

    written: str
    shape: tuple[int, int]
    rank: int
    read: Callable[[], Factors]
    part: Part = Part.A
    wrapped: WrappedParameter | None = None
    kernel: tuple[int, ...] = ()
    stacked: StackedLayer | None = None

    @property
    def tensors(self) -> FactorTensors:
        """The tensors that its factors are written to."""
        if self.stacked is not None:
            return FactorTensors.of_stacked(self.stacked, self.expert[1])
        return FactorTensors.of(self.written, self.part, wrapped=self.wrapped, kernel=self.kernel)

    @property
    def expert(self) -> tuple[str, int, str]:
        """The module of the experts, the number of this one, its layer; "" for other modules."""
        match = SINGLE_EXPERT.fullmatch(self.written)
        return (match["module"], int(match["number"]), match["layer"]) if match else ("", 0, "")


def updates_of(adapter: Adapter) -> list[NamedUpdate]:
    """Return all updates of an adapter, those of fused experts one by one."""
    return [
        NamedUpdate(
            m.written, m.shape, m.rank, partial(adapter.factors, n), m.part, m.wrapped, m.kernel
        )
        for n, m in adapter.modules.items()
    ]


def one_by_one(updates: Iterable[NamedUpdate]) -> list[NamedUpdate]:
    """Write experts as modules; other parameters stay what they are."""
    return [replace(u, wrapped=None) if u.expert[0] else u for u in updates]


def fuse(updates: Sequence[NamedUpdate], where: str) -> list[NamedUpdate]:
    """Write the experts of a module as its parameters, which PEFT wraps.

    Raises:
        MergeError: no experts, one is missing, or they differ in shape.
    """
    groups: dict[tuple[str, str], dict[int, NamedUpdate]] = defaultdict(dict)
    for update in updates:
        module, number, layer = update.expert
        if layer in (GATE_UP, DOWN):
            groups[module, layer][number] = update
    if not groups:
        raise MergeError(
            "no module of a single expert",
            where=where,
            hint="names are such as experts.0.down_proj",
        )
    count = 1 + max(max(group) for group in groups.values())
    for (module, layer), group in groups.items():
        _check_group(module, layer, group, count, where)

    def wrapped(update: NamedUpdate) -> NamedUpdate:
        module, number, layer = update.expert
        if (module, layer) not in groups:
            return update
        together = [layer for owner, layer in groups if owner == module]
        parameter = WrappedParameter(module, layer, 0, count, update.rank, number)
        return replace(update, wrapped=parameter.nested(together))

    return [wrapped(update) for update in updates]


def _check_group(
    module: str, layer: str, group: dict[int, NamedUpdate], count: int, where: str
) -> None:
    if missing := sorted(set(range(count)) - set(group)):
        raise MergeError(
            f"{module} has {count} experts, of which {missing[0]} has no {layer}",
            where=where,
            hint="merge with --missing zero, so that every expert has an update",
        )
    if len(shapes := sorted({update.shape for update in group.values()})) > 1:
        raise MergeError(
            f"the experts of {module} differ in the shape of {layer}: {shapes[0]} and {shapes[1]}",
            where=where,
            hint="the file is damaged or was written by another tool",
        )


def join(updates: Sequence[NamedUpdate], family: ExpertStorage) -> list[NamedUpdate]:
    """Make gate and up of every expert one update; one that is missing is zero.

    Cost: the factors of gate and up are read twice, since their ranks depend on their values.
    """
    halves: dict[tuple[str, int], dict[str, NamedUpdate]] = defaultdict(dict)
    joined = []
    for update in updates:
        module, number, layer = update.expert
        if layer in (family.gate, family.up):
            halves[family.fused_name(module), number][layer] = update
        elif layer == family.down:
            name = f"{family.fused_name(module)}.{number}.{DOWN}"
            joined.append(_turned(replace(update, written=name), turn=family.transposed))
        elif family.is_router(update.written):
            name = family.fused_name(update.written)
            router = WrappedParameter(name, "weight", 0, 1, update.rank)
            joined.append(replace(update, written=name, wrapped=router))
        else:
            joined.append(update)
    for (module, number), own in halves.items():
        update = _joined(f"{module}.{number}.{GATE_UP}", own, family)
        joined.append(_turned(update, turn=family.transposed))
    return joined


def _joined(name: str, own: dict[str, NamedUpdate], family: ExpertStorage) -> NamedUpdate:
    some = next(iter(own.values()))
    d_out, d_in = some.shape

    def factors(layer: str) -> Factors:
        if layer in own:
            return own[layer].read()
        return Factors(torch.zeros(0, d_in), torch.zeros(d_out, 0))

    def read() -> Factors:
        gate, up = factors(family.gate), factors(family.up)
        A, top, bottom = gate.A, gate.B, up.B
        if not torch.equal(gate.A, up.A):
            A = torch.cat([gate.A, up.A])
            top, bottom = pad(top, (0, up.rank)), pad(bottom, (gate.rank, 0))
        stack = torch.stack([top, bottom], dim=int(family.alternating))
        return Factors(A, stack.flatten(0, 1))  # [2·d_out, rank]

    return NamedUpdate(name, (2 * d_out, d_in), read().rank, read)


def separate(updates: Sequence[NamedUpdate], family: ExpertStorage) -> list[NamedUpdate]:
    """Make an update of gate_up_proj two, of gate and up."""
    shapes: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for update in updates:
        module, _, layer = update.expert
        shapes[module][layer] = update.shape
    separated = []
    for update in updates:
        module, number, layer = update.expert
        if layer not in (GATE_UP, DOWN):
            separated.append(_linear(update, family))
            continue
        turn = family.transposed
        if {GATE_UP, DOWN} <= shapes[module].keys():
            turn = orientation(shapes[module][GATE_UP], shapes[module][DOWN]) == "transposed"
        stem = f"{family.single_name(module)}.{number}"
        straight = _turned(replace(update, wrapped=None), turn=turn)
        if layer == DOWN:
            separated.append(replace(straight, written=f"{stem}.{family.down}"))
        else:
            separated += [
                _half(straight, f"{stem}.{name}", family.half(half, straight.shape[0]))
                for half, name in enumerate((family.gate, family.up))
            ]
    return separated


def rename(
    updates: Iterable[NamedUpdate], family: ExpertStorage, names: ExpertStorage
) -> list[NamedUpdate]:
    """Give the layers of single experts other names, those of `names` for the family's or any's."""
    layers = family.layers_as(names)

    def renamed(update: NamedUpdate) -> NamedUpdate:
        module, number, layer = update.expert
        if layer not in layers:
            return _linear(update, family)
        name = f"{family.single_name(module)}.{number}.{layers[layer]}"
        return replace(update, written=name, wrapped=None)

    return [renamed(update) for update in updates]


def _linear(update: NamedUpdate, family: ExpertStorage) -> NamedUpdate:
    """Return a router as the linear layer that it is where experts are stored one by one."""
    if not family.is_router(update.written):
        return update
    return replace(update, written=family.single_name(update.written), wrapped=None)


def _half(update: NamedUpdate, name: str, rows: slice) -> NamedUpdate:
    """Return the update of gate or up, which has these outputs of gate_up_proj."""
    d_out, d_in = update.shape
    if d_out % 2:
        raise MergeError(
            f"{d_out} outputs are not those of gate and up",
            where=update.written,
            hint="the settings belong to another adapter; find the right file",
        )

    def read() -> Factors:
        whole = update.read()
        return Factors(whole.A, whole.B[rows])

    return replace(update, written=name, shape=(d_out // 2, d_in), read=read)


def _turned(update: NamedUpdate, *, turn: bool) -> NamedUpdate:
    """Return the update of the transposed weight, if asked for."""
    if not turn:
        return update

    def read() -> Factors:
        factors = update.read()
        return Factors(factors.B.T, factors.A.T)

    return replace(update, shape=update.shape[::-1], read=read)
