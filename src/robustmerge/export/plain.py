"""Updates under one rank and one alpha, which every version of every reader understands.

Where one rank and one scaling describe all modules, the tensors are passed on as they are. Where
not (rank_pattern, alpha_pattern), scalings are folded into B and ranks filled up with zeros, in
float32, which holds these products exactly as a merge would compute them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..adapter.reader import Adapter, LoraModule
from ..factors import Factors


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
        """Keep the tensors as they are, where one rank and alpha give all scalings."""
        modules = list(modules)
        rank = max(m.rank for m in modules)
        alpha = modules[0].scaling * rank
        same = all(m.rank == rank and m.scaling == alpha / rank for m in modules)
        return cls(rank, alpha if same else float(rank), baked=not same)

    @property
    def setting(self) -> int | float:
        """The alpha as a settings file has it: whole where it is."""
        return int(self.alpha) if self.alpha == int(self.alpha) else self.alpha

    def dtype(self, module: LoraModule) -> str:
        """Return the type of a module's factors, by its safetensors name."""
        A, B = module.A.spec.dtype, module.B.spec.dtype
        if self.baked or A != B:
            return "F64" if "F64" in (A, B) else "F32"
        return A

    def factors(self, adapter: Adapter, module: LoraModule) -> Factors:
        """Return A [rank d_in] and B [d_out rank] in float32 (float64 stays)."""
        if not self.baked:
            return Factors(module.A.read(), module.B.read())
        return adapter.factors(module.name).pad(self.rank)
