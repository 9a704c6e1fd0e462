"""`robustmerge diagnose` as a user runs it, in a terminal of 80 columns."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import robustmerge
from factories.adapters import adapter, trio
from robustmerge import MergeError
from robustmerge.cli.app import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


def printed(capsys: Capture, *arguments: str) -> str:
    """Return the command's output, and check that no line is too long."""
    assert run(["diagnose", *arguments]) == 0
    out = capsys.readouterr().out
    for line in out.splitlines():
        assert len(line) <= 80 or "--json" in arguments, line
    return out


def test_before_a_merge(capsys: Capture) -> None:
    trio(Path())
    out = printed(capsys, "a", "b", "c")
    assert out.startswith("6 modules, 3 adapters\n")
    assert "These adapters can be merged" in out
    for label in (
        *("norms", "spectra", "cosine", "input overlap", "output overlap", "cosine of A"),
        *("sign conflict", "shared directions", "factor-wise sum", "exact sum"),
    ):
        assert f"\n  {label} " in out
    table = out.split("\nadapters\n")[1]
    for name in "abc":
        assert f"\n  {name} " in table
    assert "after merging" not in out


def test_after_merges(capsys: Capture) -> None:
    sources = trio(Path())
    robustmerge.merge(sources, "sum", method="task-arithmetic", rank="full")
    robustmerge.merge(sources, "a-name-that-is-longer-than-a-column", method="ties")
    arguments = [*sources, "--merged", "sum", "a-name-that-is-longer-than-a-column"]
    out = printed(capsys, *arguments, "-o", "found.json")
    after = out.split("after merging")[1]
    line = next(x for x in after.splitlines() if x.startswith("  sum "))
    assert line.split()[-4:] == ["100%", "0%", "0%", "0%"]
    assert "…" in after
    assert "all tables: found.json" in out
    record = json.loads(Path("found.json").read_text())
    assert record["merged"] == ["sum", "a-name-that-is-longer-than-a-column"]
    assert record["verdict"][0]["subject"] == "together"


def test_json_is_all_that_is_printed(capsys: Capture) -> None:
    trio(Path())
    out = printed(capsys, "a", "b", "--json")
    assert json.loads(out)["adapters"] == ["a", "b"]


def test_one_adapter(capsys: Capture) -> None:
    adapter(Path("a"))
    out = printed(capsys, "a")
    assert out.startswith("6 modules, 1 adapter\n")
    assert "cosine" not in out


def test_errors(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    trio(Path())
    for name in ("found.txt", "found", "md"):
        assert run(["diagnose", "a", "-o", name]) == 1
        assert "NAME.html or NAME.json" in capsys.readouterr().err
    assert run(["diagnose", "a", "--format", "md"]) == 1
    assert "-o" in capsys.readouterr().err
    assert run(["diagnose", "a", "--format", "pdf", "-o", "x"]) != 0
    Path("file").write_text("")
    assert run(["diagnose", "a", "-o", "file/found.json"]) == 1
    assert "file/found.json" in capsys.readouterr().err
    assert run(["diagnose", "a", "b", "--merged", "gone"]) == 1
    assert "no such folder" in capsys.readouterr().err

    hide_library("scipy", monkeypatch)
    assert run(["diagnose", "a", "b"]) == 0
    assert run(["diagnose", "gone", "--merged", "c"]) == 1  # before anything is read
    error = capsys.readouterr().err
    assert "diagnosing merges needs scipy" in error
    assert "robustmerge[diagnose]" in error


def test_options_are_passed_on(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[Any] = []

    def diagnose(*arguments: Any, **named: Any) -> None:
        options.extend([*arguments, named["workers"]])
        raise MergeError("enough")

    monkeypatch.setattr("robustmerge.cli.show_diagnosis.diagnose", diagnose)
    arguments = ["a", "b", "--merged", "c", "d", "--base", "below", "--workers", "3"]
    assert run(["diagnose", *arguments]) == 1
    assert options == [["a", "b"], ["c", "d"], "below", 3]


@pytest.mark.parametrize("library", ["altair", "vl_convert"])
def test_a_report_needs_the_plotting_library(
    library: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    trio(Path())
    for name in [n for n in sys.modules if n.startswith("robustmerge.diagnosis.report")]:
        monkeypatch.delitem(sys.modules, name)
    hide_library(library, monkeypatch)
    assert run(["diagnose", "a", "b", "-o", "found.json"]) == 0
    capsys.readouterr()
    assert run(["diagnose", "gone", "-o", "found.html"]) == 1  # before anything is read
    error = capsys.readouterr().err
    assert f"a report needs {library}" in error
    assert "robustmerge[diagnose]" in error


def test_reports(capsys: Capture) -> None:
    sources = trio(Path())
    robustmerge.merge(sources, "sum", method="task-arithmetic", rank="full")
    arguments = [*sources, "--merged", "sum"]
    out = printed(capsys, *arguments, "-o", "found.html")
    assert "These adapters can be merged" in out
    assert out.endswith("report: found.html\n")
    assert Path("found.html").read_text(encoding="utf-8").count("<figure") > 10
    out = printed(capsys, *arguments, "-o", "folder", "--format", "md")
    assert out.endswith("report: folder\n")
    assert Path("folder/report.md").read_text(encoding="utf-8").startswith("# a, b, c\n")
    printed(capsys, "a", "-o", "page.txt", "--format", "html")
    assert Path("page.txt").read_text(encoding="utf-8").startswith("<!doctype html>")
    out = printed(capsys, "a", "b", "-o", "both.html", "--json")
    assert json.loads(out)["adapters"] == ["a", "b"]
    assert Path("both.html").exists()


def hide_library(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a library one that is not installed."""
    real = builtins.__import__

    def without_it(name: str, *rest: Any, **named: Any) -> Any:
        if name.split(".")[0] == library:
            raise ModuleNotFoundError(f"No module named '{library}'", name=library)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_it)
