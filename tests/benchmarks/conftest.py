"""The benchmark scripts are no package: their folder is put where they expect it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
FOLDER = Path(__file__).parents[2] / "benchmarks"
if not FOLDER.is_dir():
    pytest.skip("a source package has no benchmarks", allow_module_level=True)
sys.path.append(str(FOLDER))
