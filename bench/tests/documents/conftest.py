"""The benchmark scripts are no package: their folder is put where they expect it."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "documents"
sys.path.append(str(FOLDER))
SCRIPTS = [path.name for path in Path(__file__).parent.glob("test_*.py")]
collect_ignore = [] if FOLDER.is_dir() else SCRIPTS  # a source package has none
