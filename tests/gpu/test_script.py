"""The script that measures a GPU works, on the CPU and at a tiny size."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_every_measurement_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    results = tmp_path / "gpu.json"
    options = ["--tiny", "--layers", "2", "--device", device, "--results", str(results)]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *options])
    gpu.main()
    rows = json.loads(results.read_text())["rows"]
    assert [row["merge"] for row in rows[:-2]] == [name for name, _ in gpu.METHODS]
    assert all(row.get("seconds", row.get("layer")) > 0 for row in rows)
    assert rows[-1]["per_second"] > 0
