"""A trained benchmark whose files are damaged is refused before anything runs; nothing is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench_factories.untrained_world import make_root
from faults.refuse import command, tree
from robustmerge_bench.mini.tasks import SEEN

EXPERT = f"experts/shared-0/{SEEN[0]}"


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def no_json(path: Path) -> None:
    path.write_text("{")


def infinite(path: Path) -> None:
    tensors = load_file(path)
    save_file({name: t * float("inf") for name, t in tensors.items()}, path)


def other_rank(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"r": 3}))


BASE, WEIGHTS = "base/model.safetensors", f"{EXPERT}/adapter_model.safetensors"
DAMAGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a base of garbage": (BASE, garbage),
    "a base that was cut": (BASE, cut),
    "a base of no bytes": (BASE, empty),
    "a base without weights": (BASE, Path.unlink),
    "settings of the base that are no JSON": ("base/config.json", no_json),
    "an expert that was cut": (WEIGHTS, cut),
    "an expert of garbage": (WEIGHTS, garbage),
    "an expert without weights": (WEIGHTS, Path.unlink),
    "an expert of another rank": (f"{EXPERT}/adapter_config.json", other_rank),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("nano") / "root")


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "root"))


@pytest.mark.parametrize("case", DAMAGE)
def test_a_run_is_refused_before_it_begins(case: str, root: Path, tmp_path: Path) -> None:
    name, damage = DAMAGE[case]
    damage(root / name)
    before = tree(tmp_path)
    line = ("bench", "mini", "run", "--root", root, "--out", tmp_path / "out", "--items", 1)
    code, errors = command(*line, "--methods", "ties", "--jobs", 1)
    assert (code, errors.startswith("error: ")) == (1, True), errors
    assert str(root / name).rpartition("/")[0] in errors
    assert "hint: " in errors
    assert tree(tmp_path) == before


@pytest.mark.parametrize("case", [c for c in DAMAGE if not c.endswith(("rank", "JSON"))])
def test_nothing_damaged_is_packed(case: str, root: Path, tmp_path: Path) -> None:
    name, damage = DAMAGE[case]
    damage(root / name)
    before = tree(tmp_path)
    code, errors = command("bench", "mini", "pack", "--root", root, "-o", tmp_path / "out")
    assert (code, errors.startswith("error: ")) == (1, True), errors
    assert str(root / name).rpartition("/")[0] in errors
    assert tree(tmp_path) == before


def test_values_that_are_no_numbers_are_not_packed(root: Path, tmp_path: Path) -> None:
    infinite(root / WEIGHTS)
    before = tree(tmp_path)
    code, errors = command("bench", "mini", "pack", "--root", root, "-o", tmp_path / "out")
    assert (code, "float16 ends at 65504" in errors) == (1, True), errors
    assert tree(tmp_path) == before


def test_what_is_packed_are_the_same_values(root: Path, tmp_path: Path) -> None:
    code, errors = command("bench", "mini", "pack", "--root", root, "-o", tmp_path / "out")
    assert code == 0, errors
    packed, source = load_file(tmp_path / "out" / BASE), load_file(root / BASE)
    assert packed.keys() == source.keys()
    assert all(packed[name].equal(source[name].to(torch.float16)) for name in source)
