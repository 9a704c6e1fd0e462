"""The list of planted bugs is in step with the code; `make mutants` plants them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "mutants"))

from planted import PLANTED, Mutant

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("mutant", PLANTED, ids=lambda m: m.bug.replace(" ", "-"))
def test_its_code_is_there_once(mutant: Mutant) -> None:
    assert (ROOT / mutant.path).read_text().count(mutant.code) == 1
    assert mutant.planted != mutant.code
    paths = [t for t in mutant.tests if t.startswith(("tests/", "bench/tests/"))]
    assert paths
    assert all((ROOT / path).exists() for path in paths)
