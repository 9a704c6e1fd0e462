"""Every script beside the packages can be started: whatever it imports is still where it was."""

from __future__ import annotations

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("bench/documents", "bench/benchmarks", "bench/demo", "benchmarks")
SCRIPTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for folder in FOLDERS
    for path in sorted((ROOT / folder).glob("*.py"))
}
WITH_HELP = [script for script, text in SCRIPTS.items() if "argparse" in text]


@pytest.fixture(autouse=True)
def beside_the_script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    script = request.getfixturevalue("script")
    if "mergekit" in script and find_spec("mergekit") is None:
        pytest.skip("mergekit is not installed")
    monkeypatch.syspath_prepend(str((ROOT / script).parent))
    monkeypatch.setattr(sys, "argv", [script, "--help"])


@pytest.mark.parametrize("script", SCRIPTS)
def test_imports(script: str) -> None:
    runpy.run_path(str(ROOT / script))


@pytest.mark.parametrize("script", WITH_HELP)
def test_help(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert not end.value.code
    assert "usage:" in capsys.readouterr().out
