"""Bugs that the tests must find: what is written, what the bug makes of it, which tests see it.

Each of them is one that a person might make: a factor transposed, A and B summed apart, a wrong
denominator, a scale ignored, one entry too many, a seed ignored. `make mutants` plants them one by
one in a copy of the project; a test keeps the list in step with the code.
"""

from __future__ import annotations

from adapters import READING
from analyses import DIAGNOSIS
from answering import ANSWERING
from benchmark import BENCHMARK
from matrices import DECOMPOSING
from mutant import Mutant
from scoring import SCORING
from trust import TRUST

from engine import MERGING
from methods import METHODS
from polish import POLISH
from prompted import PROMPTED
from tuning import TUNING

__all__ = ["PLANTED", "Mutant"]

PLANTED = (
    *READING,
    *MERGING,
    *METHODS,
    *DECOMPOSING,
    *DIAGNOSIS,
    *BENCHMARK,
    *ANSWERING,
    *SCORING,
    *POLISH,
    *PROMPTED,
    *TRUST,
    *TUNING,
)
