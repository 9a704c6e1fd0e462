"""The kinds of statistics that are collected of the adapters' tasks: one row for each.

A row says which tensors a kind has of every module, and their shapes. Its values are gathered by a
function of `collect.live.GATHERERS`; methods name the tensors that they need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Shape = tuple[int, ...]
KindName = Literal["gram", "inputs", "fisher"]
"""The names of KINDS, for the choices of options; a test holds them to it."""

SKETCHED = 64
"""Directions of a module's inputs that are kept; fewer where it has fewer inputs. 64 of 256 cost
.4 points on the laptop benchmark when the format was chosen."""


@dataclass(frozen=True)
class ModuleSizes:
    """What the shape of a statistic depends on.

    Attributes:
        d_out: Outputs of the module.
        d_in: Its inputs.
        rank: Rank of the adapter whose statistics these are.
        ranks: Sum of the ranks of all adapters that were collected together.
    """

    d_out: int
    d_in: int
    rank: int
    ranks: int


@dataclass(frozen=True)
class StatisticTensor:
    """One tensor of a kind.

    Attributes:
        name: The end of its name in a file: MODULE.name.
        shape: Its shape.
        between_adapters: Whether its rows and columns are the rows of all adapters' A, one below
            another, so that those of other adapters have to be left out.
    """

    name: str
    shape: Callable[[ModuleSizes], Shape]
    between_adapters: bool = False


@dataclass(frozen=True)
class StatisticKind:
    """What one pass over the samples gathers.

    Attributes:
        name: What the user calls it.
        method: The method that advice proposes for it.
        tensors: Its tensors.
    """

    name: KindName
    method: str
    tensors: tuple[StatisticTensor, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its tensors."""
        return tuple(tensor.name for tensor in self.tensors)


_ROWS = (
    StatisticKind(
        "gram",
        "regmean-rows",
        (
            StatisticTensor("gram", lambda s: (s.ranks, s.ranks), between_adapters=True),
            StatisticTensor("squares", lambda s: (s.d_in,)),
            StatisticTensor("count", lambda s: (1,)),
        ),
    ),
    StatisticKind(
        "inputs",
        "regmean",
        (
            StatisticTensor("sketch", lambda s: (min(SKETCHED, s.d_in), s.d_in)),
            StatisticTensor("rest", lambda s: (s.d_in,)),
            StatisticTensor("tokens", lambda s: (1,)),
        ),
    ),
    StatisticKind(
        "fisher",
        "fisher",
        (
            StatisticTensor("fisher_A", lambda s: (s.rank, s.d_in)),
            StatisticTensor("fisher_B", lambda s: (s.d_out, s.rank)),
        ),
    ),
)

KINDS: Mapping[KindName, StatisticKind] = MappingProxyType({row.name: row for row in _ROWS})
"""All kinds, by name."""

TENSORS: Mapping[str, StatisticTensor] = MappingProxyType(
    {tensor.name: tensor for kind in _ROWS for tensor in kind.tensors}
)
"""The tensors of all kinds, by name."""


def kinds_of(needs: Iterable[str]) -> tuple[KindName, ...]:
    """Return the kinds that have any of these tensors."""
    names = set(needs)
    return tuple(kind.name for kind in _ROWS if names & set(kind.names))
