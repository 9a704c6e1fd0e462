"""The package's own names."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import robustmerge
from factories.adapters import adapter, deltas, trio
from robustmerge import MergeError
from robustmerge.engine.recipe import Recipe


def test_public_names() -> None:
    assert {name for name in dir(robustmerge) if not name.startswith("_")} >= {
        "MergeError",
        "diagnose",
        "load",
        "merge",
        "methods",
    }
    assert robustmerge.methods.get("robustmerge").name == "robustmerge"
    assert callable(robustmerge.diagnose)
    assert callable(robustmerge.diagnose)  # once more: no module may have taken its place
    for name in robustmerge.__all__:
        assert getattr(robustmerge, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'merges'"):
        robustmerge.merges  # noqa: B018


def test_names_are_imported_when_used() -> None:
    code = (
        "import sys, robustmerge\n"
        "assert robustmerge.__version__ and dir(robustmerge) and robustmerge.MergeError\n"
        "assert 'torch' not in sys.modules\n"
        "from robustmerge import merge, load, methods\n"
        "assert 'torch' in sys.modules and 'peft' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "function", [robustmerge.merge, robustmerge.resize, robustmerge.diagnose, robustmerge.load]
)
def test_examples_run(function: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(["vqa", "ocr"]):
        adapter(Path(name), seed=seed)
    example = doctest.DocTestFinder().find(inspect.unwrap(function), "example", globs={})[0]  # type: ignore[arg-type]
    assert len(example.examples) >= 4
    assert doctest.DocTestRunner().run(example).failed == 0


def test_options_of_the_run_arrive(tmp_path: Path) -> None:
    """Check those that are in no recipe; tests/engine/test_options.py checks the others."""
    folders = trio(tmp_path)
    calls: list[tuple[int, int]] = []
    report = robustmerge.merge(
        [Path(folder) for folder in folders],
        tmp_path / "out",
        method="task-arithmetic",
        workers=1,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert report.recipe == Recipe(tuple(folders), method="task-arithmetic")
    assert calls == [(n, 6) for n in range(1, 7)]
    with pytest.raises(MergeError, match="the output exists"):
        robustmerge.merge(folders, tmp_path / "out")
    again = robustmerge.merge(folders, tmp_path / "out", force=True)
    assert again.recipe == Recipe(tuple(folders), parameters={})
    with pytest.raises(MergeError, match="no device 'gpu'"):
        robustmerge.merge(folders, tmp_path / "new", device="gpu")
    with pytest.raises(MergeError, match="0 workers cannot work"):
        robustmerge.merge(folders, tmp_path / "new", workers=0)
    assert not (tmp_path / "new").exists()


def test_what_is_loaded_is_what_is_there(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", alpha=3)
    with closing(robustmerge.load(folder)) as loaded:
        for name, delta in deltas(folder).items():
            assert (loaded.factors(name).dense() - delta).abs().max() < 1e-5


def test_a_single_name_is_not_a_list(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="adapters must be a list"):
        robustmerge.merge("vqa", tmp_path / "out")
