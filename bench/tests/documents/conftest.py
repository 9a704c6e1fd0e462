"""The benchmark scripts are no package: their folder is put where they expect it."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "documents"
sys.path.append(str(FOLDER))
SCRIPTS = [
    "test_findings.py",
    "test_minibench.py",
    "test_analysis.py",
    "test_analysis_figures.py",
    "test_scripts.py",
    "test_relay_studies.py",
    "test_coefficients.py",
]
collect_ignore = [] if FOLDER.is_dir() else SCRIPTS  # a source package has none
