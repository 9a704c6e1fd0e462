"""What an installed package must bring along."""

from __future__ import annotations

from pathlib import Path

import robustmerge


def test_types_are_announced() -> None:
    assert (Path(robustmerge.__file__).parent / "py.typed").is_file()
