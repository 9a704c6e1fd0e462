"""Whether adapters began at one A, judged as by `robustmerge show`, from the table of pairs."""

from __future__ import annotations

import math

from ..checks.compare import AdapterPair, FactorSimilarity
from .tables import Diagnosis


def initialization(found: Diagnosis) -> FactorSimilarity | None:
    """How the A's compare, over all modules; None where no two adapters have one in common.

    Row spaces are those of the updates, which are A's unless columns of B are zero or dependent.
    """
    pairs = []
    for group in found.pooled("pairs"):
        if "inputs" not in group.figures:
            continue
        cosine = group["A_cosine"].mean if "A_cosine" in group.figures else None
        pairs.append(
            AdapterPair(
                found.adapters.index(group.words["first"]),
                found.adapters.index(group.words["second"]),
                cosine,
                math.sqrt(group["inputs"].mean),
                math.sqrt(group["inputs_chance"].mean),
            )
        )
    modules = len(found.modules)
    return FactorSimilarity(modules, modules, tuple(pairs)) if pairs else None
