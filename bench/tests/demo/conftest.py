"""The demo is no package: its folder is added to the path."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "demo"
sys.path.append(str(FOLDER))
collect_ignore = [] if FOLDER.is_dir() else ["test_page.py", "test_demo.py"]
