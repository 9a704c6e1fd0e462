"""Folders appear whole or not at all, and replace what this program wrote and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.refuse import refused, tree
from robustmerge import outputs
from robustmerge.outputs import ResultKind, check_target, list_files, whole_folder

KIND = ResultKind("a result", "record.json")


def write(target: Path, content: str = "old", *, force: bool = True) -> Path:
    """Write a result of two files, one of them in a folder, and a link."""
    with whole_folder(target, KIND, [], force=force) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "weights").write_text(content)
        (folder / "notes").write_text(content)
        (folder / "link").symlink_to(target.parent)
        record = {"files": list_files(folder)}
        (folder / KIND.record).write_text(json.dumps(record))
    return target


def fail_halfway(target: Path) -> None:
    with whole_folder(target, KIND, [], force=True) as folder:
        (folder / "file").write_text("half")
        raise RuntimeError


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        fail_halfway(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_the_old_result(tmp_path: Path) -> None:
    before = tree(write(tmp_path / "out"))
    with pytest.raises(RuntimeError):
        fail_halfway(tmp_path / "out")
    assert tree(tmp_path / "out") == before
    write(tmp_path / "out", "new")
    assert (tmp_path / "out" / "part" / "weights").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_result_lists_its_files(tmp_path: Path) -> None:
    """What is not listed could not be replaced later, so that it is a mistake of ours."""

    def forget() -> None:
        with whole_folder(tmp_path / "out", KIND, [], force=False) as folder:
            (folder / KIND.record).write_text(json.dumps({"files": list_files(folder)}))
            (folder / "later").touch()

    with pytest.raises(ValueError, match="later"):
        forget()
    assert list(tmp_path.iterdir()) == []


CHANGES: dict[str, Callable[[Path], object]] = {
    "a new file": lambda out: (out / "thesis.txt").write_text("precious"),
    "a hidden file": lambda out: (out / ".env").touch(),
    "a file in a folder": lambda out: (out / "part" / "more").touch(),
    "an empty folder": lambda out: (out / "checkpoint-10").mkdir(),
    "a new link": lambda out: (out / "base").symlink_to(out),
    "a link to nowhere": lambda out: (out / "base").symlink_to("nowhere"),
    "another link": lambda out: ((out / "link").unlink(), (out / "link").symlink_to("elsewhere")),
    "an edited file": lambda out: (out / "notes").write_text("edited"),
    "as many letters": lambda out: (out / "part" / "weights").write_text("new"),
    "a file that is a link": lambda out: (
        (out / "notes").rename(out.parent / "kept"),
        (out / "notes").symlink_to(out.parent / "kept"),
    ),
    "a file that is a folder": lambda out: ((out / "notes").unlink(), (out / "notes").mkdir()),
    "no record": lambda out: (out / KIND.record).unlink(),
    "a record that is a link": lambda out: (
        (out / KIND.record).rename(out.parent / "kept"),
        (out / KIND.record).symlink_to(out.parent / "kept"),
    ),
    "no JSON": lambda out: (out / KIND.record).write_text("{"),
    "a record of something else": lambda out: (out / KIND.record).write_text('{"files": [1]}'),
    "a record of numbers": lambda out: (out / KIND.record).write_text('{"files": {"a": 1}}'),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("two_steps", [False, True])
def test_a_folder_with_anything_else_stays(
    tmp_path: Path, change: str, two_steps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was there before the work, or came during it."""
    if two_steps:
        monkeypatch.setattr(outputs, "_swap", lambda item, other: False)
    out = write(tmp_path / "out")
    CHANGES[change](out)
    before = tree(tmp_path)
    refused(lambda: check_target(out, KIND, [], force=True), "the output")
    refused(lambda: write(out, "new"), "the output")
    assert tree(tmp_path) == before

    out = write(tmp_path / "late" / "out")
    during: dict[str, bytes] = {}

    def change_meanwhile() -> None:
        with whole_folder(out, KIND, [], force=True) as folder:
            (folder / KIND.record).write_text('{"files": {}}')
            CHANGES[change](out)
            during.update({n: c for n, c in tree(tmp_path).items() if ".partial-" not in n})

    refused(change_meanwhile, "the output")
    assert tree(tmp_path) == during


def test_a_missing_file_is_no_loss(tmp_path: Path) -> None:
    out = write(tmp_path / "out")
    (out / "notes").unlink()
    write(out, "new")
    assert (out / "notes").read_text() == "new"


def test_a_large_file_is_known_by_parts_of_it(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    with file.open("wb") as stream:
        stream.truncate(200 << 20)  # sparse
    before = list_files(tmp_path)
    with file.open("r+b") as stream:
        stream.seek(200 << 19)
        stream.write(b"changed " * (1 << 18))
    assert list_files(tmp_path) != before


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    """Results that are inputs: one in a folder that is a result itself, one behind a link."""
    (tmp_path / "link").symlink_to(write(tmp_path / "real"))
    blobs = write(tmp_path / "blobs")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "weights").symlink_to(blobs / "part" / "weights")
    return [write(tmp_path / "a"), tmp_path / "link", snapshot, tmp_path / "parent" / "held" / "r"]


@pytest.mark.parametrize(
    "name", ["a", "a/", "./a", "a/part/..", "link", "real", "blobs", "parent", "parent/held", "."]
)
def test_inputs_under_any_name(
    tmp_path: Path, inputs: list[Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path, a parent, a link to an input, what the links in an input lead to."""
    write(tmp_path / "parent")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "up").symlink_to(tmp_path)
    for target in (Path(name), tmp_path / name, tmp_path / "up" / name):
        before = tree(tmp_path)
        refused(lambda t=target: check_target(t, KIND, inputs, force=True), "replace an input")
        refused(lambda t=target: check_target(t, KIND, inputs, force=False), "replace an input")
        assert tree(tmp_path) == before


def test_a_name_in_other_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk takes upper and lower case as one, a folder has several names."""
    out = write(tmp_path / "Merged")
    (tmp_path / "merged").symlink_to(out)  # the same folder on the disk
    monkeypatch.setattr(os.path, "realpath", os.path.abspath)  # and no link that could be seen
    refused(lambda: check_target(tmp_path / "merged", KIND, [out], force=True), "replace an input")


def test_an_output_in_an_input_is_no_loss(tmp_path: Path) -> None:
    out = write(tmp_path / "out")
    check_target(out / "merged", KIND, [out], force=False)
    (tmp_path / "empty").mkdir()
    check_target(tmp_path / "empty", KIND, [out], force=False)
    refused(lambda: check_target(out / "notes", KIND, [], force=True), "not a folder")
    refused(lambda: check_target(out, KIND, [], force=False), "the output exists")
