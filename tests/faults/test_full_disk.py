"""A disk that fills up or fails: an error that says so, nothing left, and the old output intact."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from factories.adapters import older_merge, trio
from faults.refuse import merge, refused, refused_merge, tree
from robustmerge import outputs
from robustmerge.adapter import writer
from robustmerge.engine import merge as engine


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, where the user may make one."""
    location = tmp_path / "small"
    location.mkdir()
    options = ["-t", "tmpfs", "-o", "size=256k", "none"]
    try:
        done = subprocess.run(["mount", *options, location], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount here")
    if done.returncode:
        pytest.skip("mounting needs more rights")
    try:
        yield location
    finally:
        subprocess.run(["umount", "-l", location], check=True)


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """Adapters whose merge takes some 700 KiB."""
    return trio(tmp_path / "in", modules={"model.layers.0.q_proj": (20_000, 2_000)}, rank=8)


def test_too_large_for_the_disk_is_seen_first(small: Path, sources: list[str]) -> None:
    refused_merge(small, sources, "the disk has 0.3 MB free, the result needs 0.7 MB")


@pytest.mark.parametrize("old", [False, True])
def test_a_disk_that_is_fuller_than_it_said(
    small: Path, sources: list[str], old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "check_space", lambda *of: None)
    if old:
        older_merge(small / "out")
    before = tree(small)
    messages = "cannot write the output: No space left on device"
    refused(lambda: merge(sources, small / "out", force=old), messages)
    assert tree(small) == before


def test_a_disk_that_fills_while_tensors_are_written(
    small: Path, sources: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "check_space", lambda *of: None)
    monkeypatch.delattr(os, "posix_fallocate")
    refused_merge(small, sources, "cannot write the output: No space left on device")


def test_a_disk_that_fills_while_torch_writes(
    small: Path, sources: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "check_space", lambda *of: None)
    modules = {"model.layers.0.q_proj": (4_000, 1_000)}
    less = trio(small / ".." / "less", modules=modules, rank=8)  # it fits, but not twice
    messages = "cannot write the output: the file system took no more of adapter_model.bin"
    refused(lambda: merge(less, small / "out", layout="llava"), messages)
    assert tree(small) == {}


def test_a_mounted_folder_cannot_be_replaced(small: Path, sources: list[str]) -> None:
    for force in (False, True):
        refused(lambda force=force: merge(sources, small, force=force), "is a mounted one")
    assert tree(small) == {}


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("call", ["posix_fallocate", "fsync", "rename"])
@pytest.mark.parametrize("old", [False, True])
def test_calls_that_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: int, old: bool
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(error, os.strerror(error))

    sources = trio(tmp_path / "in")
    if old:
        older_merge(tmp_path / "new" / "merged")
        monkeypatch.setattr(outputs, "_swap", lambda first, second: False)
    before = tree(tmp_path)
    monkeypatch.setattr(*((Path, call) if call == "rename" else (os, call)), fail)
    messages = f"cannot write the output: {os.strerror(error)}"
    refused(lambda: merge(sources, tmp_path / "new" / "merged", force=old), messages)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("position", [1, 2, 3])
def test_a_rename_that_fails_puts_the_old_adapter_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, position: int
) -> None:
    """The first sets the old adapter aside, the second brings the new one, the third may undo."""
    sources, old = trio(tmp_path / "in"), older_merge(tmp_path / "out")
    rename, calls = Path.rename, []

    def fail(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == position:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return rename(path, target)

    monkeypatch.setattr(outputs, "_swap", lambda first, second: False)
    monkeypatch.setattr(Path, "rename", fail)
    before = tree(tmp_path)
    if position == 3:  # there is no third
        merge(sources, old, force=True)
    else:
        refused(lambda: merge(sources, old, force=True), "Device or resource busy")
        assert tree(tmp_path) == before
    assert len(calls) == (1, 3, 2)[position - 1]


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_reserves_no_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    assert merge(trio(tmp_path / "in"), tmp_path / "out").rank == 4


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EINVAL, errno.EIO])
def test_a_file_system_that_flushes_no_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """One that cannot is no obstacle; nor is one that fails when the output is in its place."""
    sources, flush, flushed = trio(tmp_path / "in"), os.fsync, []

    def fail(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            flushed.append(handle)
            if error != errno.EIO or (tmp_path / "out").exists():
                raise OSError(error, os.strerror(error))
        flush(handle)

    monkeypatch.setattr(os, "fsync", fail)
    assert merge(sources, tmp_path / "out").rank == 4
    assert len(flushed) == 2


def test_a_folder_that_cannot_be_flushed_for_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, flush = trio(tmp_path / "in"), os.fsync

    def fail(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        flush(handle)

    monkeypatch.setattr(os, "fsync", fail)
    refused_merge(tmp_path, sources, f"cannot write the output: {os.strerror(errno.EIO)}")


@pytest.mark.parametrize("name", ["merge.json", "README.md", "adapter_config.json"])
def test_a_small_file_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sources, old = trio(tmp_path / "in"), older_merge(tmp_path / "out")
    before, opened = tree(tmp_path), Path.open

    def fail(path: Path, *of: Any, **options: Any) -> Any:
        if name in path.name and ".partial-" in path.parent.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, *of, **options)

    monkeypatch.setattr(Path, "open", fail)
    refused(lambda: merge(sources, old, force=True), "No space left on device")
    assert tree(tmp_path) == before


def test_a_tensor_of_the_wrong_shape_is_a_mistake_of_ours(tmp_path: Path) -> None:
    file = writer.SafetensorsWriter(tmp_path / "x", {"a": writer.TensorSpec("F32", (2,))})
    with pytest.raises(ValueError, match="a: "):
        file.write("a", torch.ones(3))
    with pytest.raises(ValueError, match="never written"):
        file.close()
