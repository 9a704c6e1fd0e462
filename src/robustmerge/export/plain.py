"""Updates under one rank and one alpha, which every version of every reader understands.

Where one rank and one scaling describe all modules, the tensors are passed on as they are. Where
not (rank_pattern, alpha_pattern), scalings are folded into B and ranks filled up with zeros, in
float32, which holds these products exactly as a merge would compute them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from ..adapter.reader import Adapter, LoraModule
from ..adapter.tensors import TensorSpec
from ..errors import MergeError, few


@dataclass(frozen=True)
class PlainLora:
    """How an adapter's factors are written.

    Attributes:
        rank: The rank of every module.
        alpha: Every module is scaled by alpha / rank.
        baked: Whether scalings are folded into B.
    """

    rank: int
    alpha: float
    baked: bool

    @classmethod
    def of(cls, modules: Iterable[LoraModule]) -> PlainLora:
        """Keep the tensors as they are, where one rank and alpha give all scalings.

        Raises:
            MergeError: a module is no linear layer or embedding.
        """
        modules = list(modules)
        if odd := [m.name for m in modules if m.wrapped or m.kernel]:
            raise MergeError(
                "fused experts, other parameters and convolutions are not written in this format",
                where=few(odd),
                hint="--format full bakes them into the base; PEFT loads the adapter as it is",
            )
        rank = max(m.rank for m in modules)
        alpha = modules[0].scaling * rank
        same = all(m.rank == rank and m.scaling == alpha / rank for m in modules)
        return cls(rank, alpha if same else float(rank), baked=not same)

    @property
    def setting(self) -> int | float:
        """The alpha as a settings file has it: whole where it is."""
        return int(self.alpha) if self.alpha == int(self.alpha) else self.alpha

    def specs(self, module: LoraModule) -> tuple[TensorSpec, TensorSpec]:
        """Return type and shape of A [rank d_in] and B [d_out rank]."""
        if not self.baked:
            return module.A.spec, module.B.spec
        d_out, d_in = module.shape
        wide = "F64" in (module.A.spec.dtype, module.B.spec.dtype)
        dtype = "F64" if wide else "F32"
        return TensorSpec(dtype, (self.rank, d_in)), TensorSpec(dtype, (d_out, self.rank))

    def factors(self, adapter: Adapter, module: LoraModule) -> tuple[Tensor, Tensor]:
        """Return A and B as they are written, in float32 (float64 stays)."""
        if not self.baked:
            return module.A.read(), module.B.read()
        factors = adapter.factors(module.name).pad(self.rank)
        return factors.A, factors.B
