"""Single files are written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from robustmerge.errors import MergeError
from robustmerge.files import read_json, write_json, write_whole


def test_json_comes_back(tmp_path: Path) -> None:
    content = {"name": "Größe", "path": "\udcff", "values": [1, 2.5, None]}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    write = Path.write_bytes

    def fail(target: Path, data: bytes) -> Any:
        write(target, data[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"new": 2})
    with pytest.raises(MergeError, match="No space") as caught:
        write_whole(path, "new")
    assert caught.value.where == str(path)
    assert read_json(path) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_the_caller_gives_the_hint_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MergeError) as caught:
        read_json(tmp_path / "a.json", if_missing="run it first")
    assert (caught.value.problem, caught.value.hint) == ("no a.json", "run it first")
