"""The only shapes a merge method sees: one module's low-rank updates, stacked over adapters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .basis import Basis
from .errors import MergeError
from .quadratic import Quadratic

R = TypeVar("R")


@dataclass(frozen=True)
class Factors:
    """A low-rank update of one linear layer: delta = B @ A, every scaling folded into B."""

    A: Float[Tensor, "rank d_in"]
    B: Float[Tensor, "d_out rank"]

    @property
    def rank(self) -> int:
        """Number of rank-one directions, zero ones included."""
        return self.A.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the delta: (d_out, d_in)."""
        return self.B.shape[0], self.A.shape[1]

    def dense(self) -> Float[Tensor, "d_out d_in"]:
        """Return the delta B @ A itself; costs d_out * d_in entries."""
        return self.B @ self.A

    def pad(self, rank: int) -> Factors:
        """Return the same update with zero directions appended up to `rank`."""
        missing = rank - self.rank
        if missing == 0:
            return self
        pad = torch.nn.functional.pad
        return Factors(pad(self.A, (0, 0, 0, missing)), pad(self.B, (0, missing)))

    def scaled(self, by: float) -> Factors:
        """Return the update multiplied by a number."""
        return self if by == 1.0 else Factors(self.A, self.B * by)


@dataclass(frozen=True)
class Dense:
    """An update of full shape, as entry-wise methods on deltas give."""

    delta: Float[Tensor, "d_out d_in"]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the delta: (d_out, d_in)."""
        return self.delta.shape[0], self.delta.shape[1]

    def dense(self) -> Float[Tensor, "d_out d_in"]:
        """Return the delta itself."""
        return self.delta

    def scaled(self, by: float) -> Dense:
        """Return the update multiplied by a number."""
        return self if by == 1.0 else Dense(self.delta * by)


@dataclass(frozen=True)
class Lifted:
    """An update in core space: delta = Q_B M Q_A^T, with orthonormal bases.

    Norms and singular values are those of M, and what is cut from it is cut before it is lifted to
    full length.

    Attributes:
        B: Basis of output directions.
        M: The core, float64.
        A: Basis of input directions.
        measure: How much an error counts when the update is cut to a lower rank, where the method
            knows that; all errors count alike where it is None.
    """

    B: Basis
    M: Float[Tensor, "p q"]
    A: Basis
    measure: Quadratic | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the delta: (d_out, d_in)."""
        return len(self.B.H), len(self.A.H)

    def factors(self) -> Factors:
        """Return the same update as factors, at rank p or q, whichever is less."""
        if self.M.shape[0] <= self.M.shape[1]:
            return Factors(self.A.lift(self.M.T).T, self.B.Q)
        return Factors(self.A.Q.T, self.B.lift(self.M))

    def dense(self) -> Float[Tensor, "d_out d_in"]:
        """Return the delta itself; costs d_out * d_in entries."""
        return self.factors().dense()

    def scaled(self, by: float) -> Lifted:
        """Return the update multiplied by a number."""
        return self if by == 1.0 else replace(self, M=self.M * by)


@dataclass(frozen=True)
class Noted:
    """An update with remarks for the report, such as directions that took no part."""

    update: Factors | Dense | Lifted
    notes: tuple[str, ...]


Update = Factors | Dense | Lifted
Result = Factors | Dense | Lifted | Noted


def noted(result: Result) -> Noted:
    """Return what a method returned as `Noted`, without remarks where it has none."""
    return result if isinstance(result, Noted) else Noted(result, ())


@dataclass(frozen=True)
class Stack:
    """One module's updates, one per adapter, in the order the user gave.

    An adapter without this module has rank 0 here, which is a zero update.

    Attributes:
        module: Canonical dotted name; random methods derive their seed from it.
        factors: The updates; all of one shape, ranks may differ.
        weights: The user's coefficient for each adapter.
        scalings: What reading folded into each B (alpha / r, or rsLoRA's). The updates are complete
            without it; only flavors that reproduce a tool which splits it differently look at it.
        data: Statistics that `robustmerge collect` took of this module on each adapter's samples,
            for methods that need them; empty otherwise.
    """

    module: str
    factors: tuple[Factors, ...]
    weights: tuple[float, ...]
    scalings: tuple[float, ...]
    data: tuple[Mapping[str, Tensor], ...] = ()

    @classmethod
    def of(
        cls,
        factors: list[Factors] | tuple[Factors, ...],
        weights: list[float] | tuple[float, ...] | None = None,
        *,
        module: str = "module",
        scalings: tuple[float, ...] | None = None,
    ) -> Stack:
        """Build a stack; weights and scalings are 1 by default."""
        n = len(factors)
        return cls(
            module,
            tuple(factors),
            tuple(weights) if weights is not None else (1.0,) * n,
            scalings if scalings is not None else (1.0,) * n,
        )

    def __len__(self) -> int:
        return len(self.factors)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of every delta: (d_out, d_in)."""
        return self.factors[0].shape

    def dense(self) -> Float[Tensor, "task d_out d_in"]:
        """Return every w_t delta_t in full; costs T * d_out * d_in entries."""
        pairs = zip(self.factors, self.weights, strict=True)
        return torch.stack([f.dense() * w for f, w in pairs])

    @property
    def ranks(self) -> tuple[int, ...]:
        """Rank of each adapter's update."""
        return tuple(f.rank for f in self.factors)

    @property
    def A(self) -> Float[Tensor, "task rank d_in"]:  # noqa: N802 (the papers' letter)
        """All A, zero-padded to the largest rank."""
        return torch.stack([f.pad(max(self.ranks)).A for f in self.factors])

    @property
    def B(self) -> Float[Tensor, "task d_out rank"]:  # noqa: N802 (the papers' letter)
        """All B, zero-padded to the largest rank."""
        return torch.stack([f.pad(max(self.ranks)).B for f in self.factors])

    def share(self) -> tuple[float, ...]:
        """Return the weights divided by their sum, for methods that average.

        Raises:
            MergeError: The weights sum to zero.
        """
        total = sum(self.weights)
        if total == 0:
            raise MergeError(
                f"weights {list(self.weights)} sum to zero, so there is no weighted mean",
                where=self.module,
                hint="choose other weights, or a method that sums, such as task-arithmetic",
            )
        return tuple(w / total for w in self.weights)

    def reweighted(self, weights: tuple[float, ...]) -> Stack:
        """Return the same updates under other coefficients."""
        return replace(self, weights=weights)

    def generator(self, seed: int, *path: object) -> torch.Generator:
        """Return a random stream of this module and `path`, whatever the traversal order."""
        return torch.Generator().manual_seed(self._digest(seed, *path))

    def bits(self, seed: int, *path: object) -> np.random.SFC64:
        """Return a stream of random bits, likewise; it is the fastest there is."""
        return np.random.SFC64(self._digest(seed, *path))

    def _digest(self, seed: int, *path: object) -> int:
        text = "/".join(map(str, (seed, self.module, *path)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


@runtime_checkable
class EachModule(Protocol):
    """A pass over all modules of a model."""

    def __call__(self, work: Callable[[Stack], R], /) -> Iterator[R]:
        """Apply a function to every module, side by side; yield results in the modules' order."""
        ...


def weighted_sum(tensors: Sequence[Tensor], by: Sequence[float | Tensor]) -> Tensor:
    """Σ by_t tensors_t; every `by` is a number or broadcasts over its tensor."""
    total = tensors[0] * by[0]
    for tensor, factor in zip(tensors[1:], by[1:], strict=True):
        total += tensor * factor
    return total
