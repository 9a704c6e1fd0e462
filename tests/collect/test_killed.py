"""A collection that is told to stop or killed half-way leaves no folder, or the old one."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from factories.bases import adapt, lines, llama, text_only
from factories.families import _quiet
from faults.child import Child
from faults.refuse import tree
from robustmerge.collect.folders import collect_folders

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("place")
    llama(root / "base")
    adapt(text_only(), {"left": {"r": 3}, "right": {"r": 2}}, root)
    lines(root / "s.jsonl", [{"text": "w5 w6 w7"}])
    return root


@pytest.mark.parametrize("old", [False, True], ids=["new", "forced"])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGKILL", -9)])
def test_stopped_half_way(location: Path, tmp_path: Path, name: str, code: int, old: bool) -> None:
    adapters, files = [location / "left", location / "right"], [location / "s.jsonl"] * 2
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "stats"
    if old:
        with _quiet():
            collect_folders(adapters, location / "base", files, target, what=["fisher"])
    before = tree(tmp_path / "out")
    options: list[Any] = ["collect", *adapters, "--base", location / "base", "--samples", *files]
    more = ["-o", target, *(["--force"] if old else [])]
    child = Child(tmp_path / "log", *options, *more, halt="writing")
    assert child.reached() == "writing"
    child.signal(getattr(signal, name))
    assert child.ended() == code
    after = tree(tmp_path / "out")
    hidden = {path for path in after if path.startswith(".stats.partial-")}
    assert bool(hidden) == (name == "SIGKILL")
    assert {path: after[path] for path in after.keys() - hidden} == before
