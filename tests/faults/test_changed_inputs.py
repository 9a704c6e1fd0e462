"""Inputs that vanish or change after they were checked: refused by name, or read as they were."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from factories.adapters import adapter, trio
from faults.refuse import merge, refused, tree
from robustmerge.adapter.reader import Adapter
from robustmerge.engine import merge as engine
from robustmerge.engine.merge import merge_recipe
from robustmerge.engine.recipe import Recipe

MANY = {f"model.language_model.layers.{n}.q_proj": (6, 8) for n in range(40)}


def replace(file: Path) -> None:
    """Another file of the same size and time takes its place."""
    fresh = file.with_suffix(".new")
    fresh.write_bytes(file.read_bytes()[:-1] + b"\x01")
    os.utime(fresh, ns=(1, file.stat().st_mtime_ns))
    fresh.rename(file)


def overwrite(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(-1, os.SEEK_END)
        opened.write(b"\x01")


def grow(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"\0")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "deleted": (Path.unlink, "cannot read the file: No such file"),
    "cut": (lambda file: os.truncate(file, file.stat().st_size // 2), "changed while it was read"),
    "emptied": (lambda file: os.truncate(file, 0), "changed while it was read"),
    "grown": (grow, "changed while it was read"),
    "overwritten": (overwrite, "changed while it was read"),
    "replaced": (replace, "changed while it was read"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("binary", [False, True], ids=["safetensors", "bin"])
def test_between_plan_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, binary: bool
) -> None:
    sources = trio(tmp_path / "in", binary=binary)
    file = Path(sources[1]) / ("adapter_model.bin" if binary else "adapter_model.safetensors")
    do, said = CHANGES[change]
    make_plan, after = engine.make_plan, {}

    def plan_and_change(recipe: Recipe) -> Any:
        plan = make_plan(recipe)
        os.utime(file, ns=(1, 1))  # so that a change shows whatever the clock's steps
        plan.close()
        plan = make_plan(recipe)
        do(file)
        after.update(tree(tmp_path))
        return plan

    monkeypatch.setattr(engine, "make_plan", plan_and_change)
    error = refused(lambda: merge(sources, tmp_path / "new" / "out"), said)
    assert error.where == str(file)
    assert tree(tmp_path) == after


@pytest.mark.parametrize("change", ["cut", "emptied", "overwritten"])
def test_while_it_is_read(tmp_path: Path, change: str) -> None:
    sources = trio(tmp_path / "in", modules=MANY)
    file = Path(sources[1]) / "adapter_model.safetensors"
    os.utime(file, ns=(1, 1))
    recipe = Recipe(adapters=tuple(sources))

    def progress(done: int, total: int) -> None:
        if done == 1:
            CHANGES[change][0](file)

    def run() -> object:
        return merge_recipe(recipe, tmp_path / "out", workers=1, progress=progress)

    assert refused(run, "changed while it was read").where == str(file)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("change", ["deleted", "replaced"])
def test_a_file_that_is_open_is_read_to_its_end(tmp_path: Path, change: str) -> None:
    folder = Path(trio(tmp_path / "in", modules=MANY)[0])
    opened, kept = Adapter(folder), Adapter(tmp_path / "in" / "a")
    first, *names = opened.modules
    opened.factors(first)
    wanted = {name: kept.factors(name).A for name in names}
    CHANGES[change][0](folder / "adapter_model.safetensors")
    for name in names:
        assert torch.equal(opened.factors(name).A, wanted[name])
    opened.close()
    kept.close()


def test_settings_that_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = trio(tmp_path / "in")
    file, make_plan = Path(sources[2]) / "adapter_config.json", engine.make_plan

    def plan_and_delete(recipe: Recipe) -> Any:
        plan = make_plan(recipe)
        file.unlink()
        return plan

    monkeypatch.setattr(engine, "make_plan", plan_and_delete)
    error = refused(lambda: merge(sources, tmp_path / "out"), "cannot read the file")
    assert error.where == str(file)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_base_that_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = {"lm_head.weight": torch.ones(3, 2)}
    sources = [adapter(tmp_path / name, extras=head) for name in "ab"]
    file, make_plan = tmp_path / "base" / "model.safetensors", engine.make_plan
    file.parent.mkdir()
    save_file(head, file)

    def plan_and_delete(recipe: Recipe) -> Any:
        plan = make_plan(recipe)
        file.unlink()
        return plan

    monkeypatch.setattr(engine, "make_plan", plan_and_delete)
    output, base = tmp_path / "out", str(file.parent)
    error = refused(lambda: merge(sources, output, base=base), "cannot read the file")
    assert error.where == str(file)
    assert not output.exists()


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_file_that_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, opened = adapter(tmp_path / "a"), Path.open

    def refuse(path: Path, *of: Any, **options: Any) -> Any:
        if path.name == name:
            raise PermissionError(13, "Permission denied")
        return opened(path, *of, **options)

    monkeypatch.setattr(Path, "open", refuse)
    error = refused(lambda: Adapter(folder), "cannot read the file: Permission denied")
    assert error.where == str(folder / name)
