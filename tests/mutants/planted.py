"""Bugs that the tests must find: what is written, what the bug makes of it, which tests see it.

Each of them is one that a person might make: a factor transposed, A and B summed apart, a wrong
denominator, a scale ignored, one entry too many, a seed ignored. `make mutants` plants them one by
one in a copy of the project; a test keeps the list in step with the code.
"""

from __future__ import annotations

from analyses import DIAGNOSIS
from answering import ANSWERING
from benchmark import BENCHMARK
from decomposing import DECOMPOSING
from entrywise import ENTRYWISE
from merging import MERGING
from mutant import Mutant
from reading import READING
from scoring import SCORING
from trust import TRUST

from polish import POLISH
from prompted import PROMPTED
from tuning import TUNING

__all__ = ["PLANTED", "Mutant"]

PLANTED = (
    *READING,
    *MERGING,
    *ENTRYWISE,
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
