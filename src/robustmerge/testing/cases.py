"""Cases that methods are tested on: made-up updates, and changes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..factors import Factors, Stack, noted
from ..methods import Method, get
from ..methods._registry import Trait
from ..statistic_kinds import TENSORS, ModuleSizes

Delta = Float[Tensor, "d_out d_in"]


@dataclass(frozen=True)
class MethodCase:
    """A method under settings.

    Attributes:
        method: The method.
        settings: All its parameters.
    """

    method: Method
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, method: Method | str, settings: Mapping[str, Any] | None = None) -> MethodCase:
        """Return a method, by itself or by name, under its defaults and these settings."""
        registered = get(method) if isinstance(method, str) else method
        return cls(registered, registered.configure(settings or {}))

    def claims(self, trait: Trait) -> bool:
        """Return True if a trait is claimed under these settings."""
        return self.method.has(trait, self.settings)

    def merge(self, stack: Stack, **changed: Any) -> Delta:
        """Return the merged delta in float64."""
        settings = {**self.settings, **changed}
        stack = self._with_data(stack)
        surveyed = {}
        if self.method.survey is not None:
            statistic = self.method.survey(lambda work: map(work, [stack]), [settings])
            surveyed = {} if statistic is None else {"surveyed": statistic}
        update = noted(self.method(stack, **settings, **surveyed)).update
        if isinstance(update, Factors):
            return update.B.double() @ update.A.double()
        return update.dense().double()

    def _with_data(self, stack: Stack) -> Stack:
        """Add made-up statistics that the method needs, unless the stack has them."""
        if not self.method.needs or stack.data:
            return stack
        return replace(stack, data=statistics(stack))


def random_stack(
    d_out: int = 30,
    d_in: int = 25,
    ranks: Sequence[int] = (4, 3, 4),
    *,
    weights: Sequence[float | int] | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Stack:
    """Random updates of unequal sizes, one per rank."""
    made = []
    for t, rank in enumerate(ranks):
        g = torch.Generator().manual_seed(1000 * seed + t)
        A = torch.randn(rank, d_in, generator=g, dtype=torch.float64)
        B = torch.randn(d_out, rank, generator=g, dtype=torch.float64) * (1 + t / 4)
        made.append(Factors(A.to(dtype), B.to(dtype)))
    return Stack.of(made, [float(w) for w in weights] if weights is not None else None)


def alike_stack(seed: int = 0) -> Stack:
    """Random updates whose A drifted a third of its length from one start, as PEFT draws it."""
    g = torch.Generator().manual_seed(seed)
    start = (2 * torch.rand(4, 25, generator=g, dtype=torch.float64) - 1) / 5  # ± 1 / √d_in
    apart = random_stack(ranks=(4, 4, 4), seed=seed + 1)
    return Stack.of([Factors(start + 0.04 * f.A, f.B) for f in apart.factors])


def statistics(stack: Stack, samples: int = 50) -> tuple[dict[str, Tensor], ...]:
    """Make up the statistics that `robustmerge collect` takes of inputs and gradients.

    They depend on the shapes and on the adapter's position in the list, and not on how its update
    is split in factors.
    """
    d_in = stack.shape[1]
    rows = torch.cat([f.A for f in stack.factors]).double()
    result = []
    for t, f in enumerate(stack.factors):
        of = stack.generator(0, stack.shape, t)
        X = torch.randn(samples, d_in, generator=of, dtype=torch.float64)
        X = X * (1 + torch.arange(d_in) % (2 + t))
        Z = X @ rows.T  # [sample, R]
        result.append(
            {
                "gram": Z.T @ Z,
                "squares": X.square().sum(0),
                "count": torch.tensor([float(samples)], dtype=torch.float64),
            }
        )
        sizes = ModuleSizes(*stack.shape, rank=f.rank, ranks=sum(stack.ranks))
        for name, tensor in TENSORS.items():
            if name not in result[t]:
                values = torch.rand(tensor.shape(sizes), generator=of, dtype=torch.float64)
                result[t][name] = values + 0.1 * t
    return tuple(result)


def change_gauge(f: Factors, seed: int) -> Factors:
    """Return the same update in another gauge: B G^-1 and G A."""
    g = torch.Generator().manual_seed(seed)
    G = torch.randn(f.rank, f.rank, generator=g, dtype=torch.float64)
    G = G + 2 * torch.eye(f.rank, dtype=torch.float64)
    return Factors(G @ f.A, f.B @ torch.linalg.inv(G))


def perturb(stack: Stack) -> Stack:
    """Return every factor changed by 1e-12 of itself."""
    g = torch.Generator().manual_seed(7)

    def noise(x: Tensor) -> Tensor:
        unit: Tensor = x.norm() / max(x.numel(), 1) ** 0.5
        return 1e-12 * unit * torch.randn(x.shape, generator=g).to(x)

    moved = tuple(Factors(f.A + noise(f.A), f.B + noise(f.B)) for f in stack.factors)
    return replace(stack, factors=moved)


def reverse(stack: Stack) -> Stack:
    """Return the adapters in the opposite order, with their data."""
    ranks = stack.ranks
    at = torch.split(torch.arange(sum(ranks)), list(ranks))
    order = torch.cat([*at[::-1]])
    data = tuple(
        {k: v[order][:, order] if TENSORS[k].between_adapters else v for k, v in d.items()}
        for d in stack.data
    )
    return replace(stack, factors=stack.factors[::-1], weights=stack.weights[::-1], data=data[::-1])
