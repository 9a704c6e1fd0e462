"""Where the output may go: a new place, or an older merge's with --force, but never an input's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from factories.adapters import adapter, deltas, older_merge, trio
from faults.refuse import command, merge, refused, tree
from robustmerge import outputs

MADE = ["README.md", "adapter_config.json", "adapter_model.safetensors", "merge.json"]


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    return trio(tmp_path / "in")


@pytest.fixture(params=["in one step", "in two steps"])
def _both_exchanges(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "in two steps":
        monkeypatch.setattr(outputs, "_swap", lambda item, other: False)


def refused_output(
    root: Path, sources: list[str], output: Path, *messages: str, **options: Any
) -> None:
    """Refused, by the package and on the command line, with nothing changed."""
    before = tree(root)
    error = refused(lambda: merge(sources, output, **options), *messages)
    assert str(output) in error.where
    code, errors = command("merge", *sources, "-o", output, *(f"--{name}" for name in options))
    assert (code, error.problem in errors) == (1, True)
    assert tree(root) == before


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_place_gets_its_parents(tmp_path: Path, sources: list[str]) -> None:
    merge(sources, tmp_path / "new" / "deep" / "out")
    assert names(tmp_path / "new" / "deep" / "out") == MADE
    assert names(tmp_path / "new" / "deep") == ["out"]


def test_a_merge_is_kept_without_force(tmp_path: Path, sources: list[str]) -> None:
    old = older_merge(tmp_path / "out")
    refused_output(tmp_path, sources, old, "the output exists", "--force")


@pytest.mark.usefixtures("_both_exchanges")
def test_a_merge_is_replaced_with_force(tmp_path: Path, sources: list[str]) -> None:
    old = older_merge(tmp_path / "out")
    merge(sources, old, force=True)
    merge(sources, tmp_path / "fresh")
    assert tree(old) == tree(tmp_path / "fresh")
    assert names(tmp_path) == ["fresh", "in", "out"]


def test_only_a_merge_is_replaced(tmp_path: Path, sources: list[str]) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.tex").write_text("years of work")
    refused_output(tmp_path, sources, folder, "the output exists")
    refused_output(tmp_path, sources, folder, "is not a merge", force=True)
    refused_output(tmp_path, sources, adapter(tmp_path / "trained"), "is not a merge", force=True)


@pytest.mark.parametrize("options", [{}, {"force": True}])
def test_an_empty_folder_is_filled(
    tmp_path: Path, sources: list[str], options: dict[str, bool]
) -> None:
    (tmp_path / "out").mkdir()
    merge(sources, tmp_path / "out", **options)
    assert names(tmp_path / "out") == MADE
    assert names(tmp_path) == ["in", "out"]


@pytest.mark.parametrize("options", [{}, {"force": True}])
def test_a_file_is_not_replaced(
    tmp_path: Path, sources: list[str], options: dict[str, bool]
) -> None:
    (tmp_path / "out").write_text("mine")
    refused_output(tmp_path, sources, tmp_path / "out", "is not a folder", **options)


@pytest.mark.parametrize("options", [{}, {"force": True}])
def test_a_file_is_no_parent(tmp_path: Path, sources: list[str], options: dict[str, bool]) -> None:
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file" / "out", tmp_path / "file" / "deep" / "out"):
        refused_output(tmp_path, sources, output, "cannot write the output", **options)


@pytest.mark.parametrize("options", [{}, {"force": True}])
def test_an_input_is_not_replaced(
    tmp_path: Path, sources: list[str], options: dict[str, bool]
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "in" / "b")
    (tmp_path / "up").symlink_to(tmp_path / "in")
    adapter(tmp_path / "in", seed=9)  # so that --force would replace it
    here = tmp_path / "in" / "a"
    for output in (
        *(here, here / "..", here / ".." / "b", tmp_path / "link", tmp_path / "up" / "c"),
        *(tmp_path / "in", tmp_path / "up", tmp_path),
    ):
        refused_output(tmp_path, sources, output, "the output would replace an input", **options)


def test_an_input_behind_a_link_is_not_replaced(tmp_path: Path, sources: list[str]) -> None:
    (tmp_path / "link").symlink_to(sources[0])
    linked = [str(tmp_path / "link"), *sources[1:]]
    refused_output(tmp_path, linked, Path(sources[0]), "would replace an input", force=True)
    refused_output(tmp_path, linked, tmp_path / "link", "would replace an input", force=True)


def test_an_output_inside_an_input_leaves_the_input_as_it_is(
    tmp_path: Path, sources: list[str]
) -> None:
    first = Path(sources[0])
    before = tree(first)
    merge(sources, first / "merged")
    after = tree(first)
    assert {name: after[name] for name in before} == before
    assert names(first / "merged") == MADE
    refused_output(tmp_path, sources, first / "adapter_config.json", "is not a folder", force=True)


@pytest.mark.usefixtures("_both_exchanges")
def test_a_link_to_a_merge_stays_a_link(tmp_path: Path, sources: list[str]) -> None:
    older_merge(tmp_path / "real" / "out")
    (tmp_path / "out").symlink_to(tmp_path / "real" / "out")
    merge(sources, tmp_path / "out", force=True)
    assert (tmp_path / "out").is_symlink()
    assert names(tmp_path / "real" / "out") == MADE
    assert names(tmp_path / "real") == ["out"]
    assert names(tmp_path) == ["in", "out", "real"]


def test_a_link_to_nowhere_is_followed(tmp_path: Path, sources: list[str]) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "later")
    merge(sources, tmp_path / "out")
    assert names(tmp_path / "later") == MADE


def test_a_link_to_itself_leads_nowhere(tmp_path: Path, sources: list[str]) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "out")
    before = names(tmp_path)
    refused(lambda: merge(sources, tmp_path / "out"), "cannot write the output")
    assert names(tmp_path) == before


def test_names_as_long_as_a_disk_takes_them(tmp_path: Path, sources: list[str]) -> None:
    for name in ("x" * 255, "ü" * 127):
        merge(sources, tmp_path / name)
        assert names(tmp_path / name) == MADE
    refused_output(tmp_path, sources, tmp_path / ("x" * 256), "File name too long")
    refused_output(tmp_path, sources, tmp_path / "/".join(["x" * 200] * 30), "File name too long")


def test_the_current_folder_when_it_is_empty(
    tmp_path: Path, sources: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    merge(sources, Path())
    assert names(tmp_path / "here") == MADE


def test_a_tilde_is_home_and_an_unknown_user_is_a_name(
    tmp_path: Path, sources: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    merge(sources, Path("~/out"))
    merge(sources, Path("~nobody-of-this-name/out"))
    assert names(tmp_path / "home" / "out") == MADE
    assert names(tmp_path / "~nobody-of-this-name" / "out") == MADE
    assert deltas(tmp_path / "home" / "out").keys()


def test_a_name_with_a_zero_byte_is_refused(tmp_path: Path, sources: list[str]) -> None:
    refused(lambda: merge(sources, tmp_path / "a\0b"), "cannot write the output")
    assert names(tmp_path) == ["in"]
