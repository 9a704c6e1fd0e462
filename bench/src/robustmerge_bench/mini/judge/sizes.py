"""How large the experts' updates are beside the weights they are added to."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from robustmerge.adapter.base import Base
from robustmerge.adapter.reader import Adapter
from robustmerge.errors import MergeError
from robustmerge.linalg import norm


def relative_size(adapter: Path, base: Path) -> float:
    """Median over modules of |Δ| / |W| in Frobenius norms; 0.02 is two percent.

    Raises:
        MergeError: One of the two cannot be read, or a module has no weight in the base.
    """
    opened, below = Adapter(adapter), Base(str(base))
    try:
        ratios = []
        for name in opened.modules:
            weight = below.weight(name)
            if weight is None:
                raise MergeError(
                    "the base has no weight for a module of the adapter",
                    where=f"{name}\n{adapter}\n{base}",
                    hint="the adapter was trained on another base",
                )
            ratios.append(norm(opened.factors(name)) / float(weight.read().norm()))
    finally:
        opened.close()
        below.close()
    return median(ratios)
