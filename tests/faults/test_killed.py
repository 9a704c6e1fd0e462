"""A process that is interrupted, told to stop or killed leaves the whole old output, or none."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from factories.adapters import older_merge, trio
from faults.child import Child, run_together
from faults.refuse import merge, tree

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")

STOPS = [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)]


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    return trio(tmp_path / "in")


@pytest.fixture
def location(tmp_path: Path) -> Path:
    """A folder for outputs, of which the tests look at everything."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def hidden(location: Path) -> list[Path]:
    return [path for path in location.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("halt", ["writing", "replacing"])
@pytest.mark.parametrize(("name", "code"), STOPS)
@pytest.mark.parametrize("old", [False, True], ids=["new", "forced"])
def test_told_to_stop(
    tmp_path: Path, sources: list[str], location: Path, name: str, code: int, old: bool, halt: str
) -> None:
    if old:
        older_merge(location / "out")
    before = tree(location)
    options = ["--force"] if old else []
    child = Child(tmp_path / "log", "merge", *sources, "-o", location / "out", *options, halt=halt)
    assert child.reached() == halt
    assert hidden(location)
    child.signal(getattr(signal, name))
    assert child.ended() == code
    assert tree(location) == before
    assert "Traceback" not in child.read_output()
    assert ("interrupted; nothing was left half written" in child.read_output()) == (
        name == "SIGINT"
    )


def test_told_to_stop_before_new_parents_are_of_use(
    tmp_path: Path, sources: list[str], location: Path
) -> None:
    output = location / "new" / "deep" / "out"
    child = Child(tmp_path / "log", "merge", *sources, "-o", output, halt="writing")
    child.reached()
    child.signal(signal.SIGTERM)
    assert child.ended() == 143
    assert tree(location) == {}


def test_told_twice(tmp_path: Path, sources: list[str], location: Path) -> None:
    """The second signal comes while the first one's cleaning up is under way."""
    child = Child(tmp_path / "log", "merge", *sources, "-o", location / "out", halt="cleaning")
    child.reached()
    child.signal(signal.SIGTERM)
    child.reached()
    child.signal(signal.SIGTERM)
    child.go()
    assert child.ended() == 143
    assert tree(location) == {}


def test_nohup(tmp_path: Path, sources: list[str], location: Path) -> None:
    """What the caller had it ignore does not stop it."""
    arguments = ["merge", *sources, "-o", location / "out"]
    child = Child(tmp_path / "log", *arguments, halt="writing", deaf=True)
    child.reached()
    child.signal(signal.SIGHUP)
    child.go()
    assert child.ended() == 0
    assert [path.name for path in location.iterdir()] == ["out"]


@pytest.mark.parametrize("halt", ["writing", "replacing"])
@pytest.mark.parametrize("old", [False, True], ids=["new", "forced"])
def test_killed(tmp_path: Path, sources: list[str], location: Path, old: bool, halt: str) -> None:
    if old:
        older_merge(location / "out")
    before = tree(location)
    options = ["--force"] if old else []
    child = Child(tmp_path / "log", "merge", *sources, "-o", location / "out", *options, halt=halt)
    child.reached()
    child.signal(signal.SIGKILL)
    assert child.ended() == -signal.SIGKILL
    left = hidden(location)
    assert len(left) == 1
    assert left[0].name.startswith(".out.partial-")
    seen = {n: c for n, c in tree(location).items() if not n.startswith(".out.partial-")}
    assert seen == before
    merge(sources, location / "out", force=True)  # and what is left is in nobody's way
    assert len(list(location.iterdir())) == 2


@pytest.mark.parametrize(("name", "code"), STOPS)
def test_told_to_stop_between_two_renames(
    tmp_path: Path, sources: list[str], location: Path, name: str, code: int
) -> None:
    older_merge(location / "out")
    before = tree(location)
    arguments = ["merge", *sources, "-o", location / "out", "--force"]
    child = Child(tmp_path / "log", *arguments, halt="between", two_steps=True)
    child.reached()
    assert not (location / "out").exists()
    child.signal(getattr(signal, name))
    assert child.ended() == code
    assert tree(location) == before


def test_killed_between_two_renames(tmp_path: Path, sources: list[str], location: Path) -> None:
    """Where a system cannot exchange folders in one step, the old one is aside, and whole."""
    old = tree(older_merge(location / "out"))
    arguments = ["merge", *sources, "-o", location / "out", "--force"]
    child = Child(tmp_path / "log", *arguments, halt="between", two_steps=True)
    child.reached()
    child.signal(signal.SIGKILL)
    child.ended()
    merge(sources, tmp_path / "wanted")
    left = {path.name.split("-")[0]: tree(path) for path in hidden(location)}
    assert left == {".out.replaced": old, ".out.partial": tree(tmp_path / "wanted")}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="exchanges in two steps")
def test_linux_needs_no_second_rename(
    sources: list[str], location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older_merge(location / "out")
    monkeypatch.delattr(Path, "rename")
    merge(sources, location / "out", force=True)
    assert [path.name for path in location.iterdir()] == ["out"]


@pytest.mark.parametrize("two_steps", [False, True])
@pytest.mark.parametrize("old", [False, True], ids=["new", "forced"])
def test_two_at_once(
    tmp_path: Path, sources: list[str], location: Path, old: bool, two_steps: bool
) -> None:
    """One result, whole, and nothing else; the loser says so, or was replaced."""
    wanted = []
    for n, weights in enumerate(["1,1,1", "1,2,3"]):
        merge(sources, tmp_path / str(n), weights=[float(w) for w in weights.split(",")])
        wanted.append(tree(tmp_path / str(n)))
    if old:
        older_merge(location / "out")
    children = [
        Child(
            *(
                tmp_path / f"log{n}",
                "merge",
                *sources,
                "-o",
                location / "out",
                "--weights",
                weights,
            ),
            *(["--force"] if old else []),
            halt="replacing",
            two_steps=two_steps,
        )
        for n, weights in enumerate(["1,1,1", "1,2,3"])
    ]
    codes = run_together(children)
    assert [path.name for path in location.iterdir()] == ["out"]
    result = tree(location / "out")
    assert result in wanted
    for child, code, of in zip(children, codes, wanted, strict=True):
        assert code in (0, 1)
        assert code == 0 or "cannot write the output" in child.read_output()
        assert code == 0 or result != of
    if not old:
        assert sorted(codes) == [0, 1]
    elif not two_steps:
        assert codes == [0, 0]
    else:
        assert 0 in codes
