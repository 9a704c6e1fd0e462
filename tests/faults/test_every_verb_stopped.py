"""Every command that writes, stopped or killed at several moments, and two of it at once.

Nothing that was there is lost, the output is there whole or not at all, what a killed process
leaves has its hidden name, and the same command works afterwards.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch

from derive.test_convert import SUMS, trained
from export.test_gguf import MODULES, base as llama_settings
from export.test_original import original
from factories.adapters import LLM, adapter
from factories.bases import adapt, lines, llama, text_only
from factories.checkpoints import base, weights
from faults.moments import CODES, all_moments, few_moments, leaves, run, start
from faults.refuse import tree
from robustmerge.cli.app import app
from robustmerge.export import EXPORTERS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")

COMMANDS = {
    "merge": "merge ../in/a ../in/c -o out",
    "merge, in two files": "merge ../in/pa ../in/pc --extras-in beside -m task-arithmetic -o out",
    "merge, new parents": "merge ../in/a ../in/c -o new/deep/out",
    "resize": "resize ../in/a --rank 2 -o out",
    "extract": "extract ../tuned/a --base ../base --rank 2 -o out",
    "convert": "convert ../other/a/kind --base ../other/a/base -o out",
    "export embedded": "export ../in/a --format embedded --base ../base -o out",
    "export full": "export ../in/a --format full --base ../base -o out",
    "export original": "export ../in/a --format original --base ../original -o llava-lora-out",
    "export gguf": "export ../text/a --format gguf --base ../llama -o out.gguf",
    "collect": "collect ../live/a ../live/c --base ../live/base --samples ../live/s.jsonl"
    " ../live/s.jsonl --what fisher -o out",
    "diagnose html": "diagnose ../in/a ../in/c -o out.html",
    "diagnose json": "diagnose ../in/a ../in/c -o out.json",
    "diagnose md": "diagnose ../in/a ../in/c -o out --format md",
    "diagnose png": "diagnose ../in/a ../in/c -o out --format png",
}
"""Command lines with an output, in a folder of their own. With b for a, another result."""
REPORTS = ("diagnose",)
"""Their own earlier files are replaced without --force."""
READERS = {"show", "check", "methods"}
SEARCHES = {"tune": "tests/tuning/test_stopped.py"}
"""What goes on where it was, and where that is tested."""
FOLDER = b"folder"
"""What `tree` says of one."""


DRAWN = ("diagnose html", "diagnose md", "diagnose png")
"""Figures take seconds to draw; a report in JSON is written as one in HTML is."""
each_command = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in DRAWN)) for n in COMMANDS]
)


def test_every_command_is_here() -> None:
    ours = {name for name in leaves(app) if not name.startswith("bench")}
    assert ours == {line.split()[0] for line in COMMANDS.values()} | READERS | set(SEARCHES)
    assert {name.split()[1] for name in COMMANDS if name.startswith("export")} == set(EXPORTERS)
    root = Path(__file__).parents[2]
    assert all((root / file).is_file() for file in SEARCHES.values())


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of every command, in folders next to that in which it runs."""
    root = tmp_path_factory.mktemp("stopped")
    start = weights()
    base(root / "base", start)
    original(root / "original")
    llama_settings(root / "llama")
    (root / "live").mkdir()
    llama(root / "live/base")
    adapt(text_only(), {name: {"r": 2 + n} for n, name in enumerate("abc")}, root / "live")
    lines(root / "live/s.jsonl", [{"text": "w5 w6 w7"}])
    for n, name in enumerate("abc"):
        adapter(root / "in" / name, seed=n)
        extras = {"model.multi_modal_projector.linear_1.weight": torch.full((6, 6), float(n))}
        adapter(root / f"in/p{name}", seed=n, extras=extras)
        adapter(root / "text" / name, seed=n, modules=MODULES)
        moved = {f"{module}.weight" for module in LLM}
        tuned = {key: t + (n + 1) * (key in moved) for key, t in start.items()}
        base(root / "tuned" / name, tuned)
        (root / "other" / name).mkdir(parents=True)
        torch.manual_seed(n)
        trained(root / "other" / name, SUMS["LoHa"][0])
    return root


@pytest.fixture
def place(inputs: Path) -> Iterator[Path]:
    """An empty folder next to the inputs."""
    folder = inputs / "place"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Undisturbed:
    """What a command does when nothing stops it.

    Attributes:
        old: Where the result for b is.
        was: What is in that folder.
        new: What the result for a is.
        changes: Changes of the disk, without and with an older result to replace.
    """

    old: Path
    was: dict[str, bytes]
    new: dict[str, bytes]
    changes: Mapping[bool, Sequence[str]]


@pytest.fixture(scope="module")
def undisturbed(inputs: Path) -> Callable[[str], Undisturbed]:
    """Run a command to its end; once for all tests."""

    @cache
    def run_all(name: str) -> Undisturbed:
        folder = inputs / str(len(list(inputs.iterdir())))
        changes, results = {}, []
        for letter, force in (("b", False), ("a", True), ("b", True), ("a", False)):
            if letter == "a" and not force:
                folder = folder.with_name(f"{folder.name}-new")
            folder.mkdir(exist_ok=True)
            ended = run(folder, *line(name, letter, force=force))
            assert ended.code == 0, ended.output
            changes[force] = ended.changes
            results.append(tree(folder))
        old, new, again, wanted = results
        assert (again, wanted) == (old, new)
        assert old != new
        return Undisturbed(folder.with_name(folder.name.removesuffix("-new")), old, new, changes)

    return run_all


def line(name: str, letter: str = "a", *, force: bool = False) -> list[str]:
    words = COMMANDS[name].replace("/a", f"/{letter}").replace("/pa", f"/p{letter}").split()
    return [*words, "--force"] if force and words[0] not in REPORTS else words


def refill(place: Path, content: Path | None) -> None:
    """Empty a folder but for what killed processes left, and put copies there."""
    for path in place.iterdir():
        if not is_leftover(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if content:
        shutil.copytree(content, place, symlinks=True, dirs_exist_ok=True)


def others(inputs: Path) -> dict[str, bytes]:
    """All that the command must leave alone."""
    return {p: text for p, text in tree(inputs).items() if not p.startswith("place")}


def is_leftover(name: str) -> bool:
    return name.startswith(".") and any(mark in name for mark in (".partial-", ".replaced-"))


def seen(place: Path) -> dict[str, bytes]:
    """All but what killed processes left, and empty folders above an output."""
    content = {p: t for p, t in tree(place).items() if not any(map(is_leftover, Path(p).parts))}
    full = {
        str(parent)
        for path, text in content.items()
        if text != FOLDER
        for parent in Path(path).parents
    }
    return {path: text for path, text in content.items() if text != FOLDER or path in full}


@pytest.mark.parametrize(
    "moments", [few_moments, pytest.param(all_moments, marks=pytest.mark.slow)]
)
@each_command
def test_stopped(
    name: str,
    moments: Callable[[Sequence[str]], list[tuple[int, str]]],
    inputs: Path,
    place: Path,
    undisturbed: Callable[[str], Undisturbed],
) -> None:
    alone = undisturbed(name)
    before = others(inputs)
    for force in (False, True):
        for at, signal_name in moments(alone.changes[force]):
            refill(place, alone.old if force else None)
            left = {path.name for path in place.iterdir() if is_leftover(path.name)}
            number = getattr(signal, signal_name)
            ended = run(place, *line(name, force=force), at=at, number=number)
            moment = (at, signal_name, alone.changes[force], ended.output)
            assert ended.code == CODES[signal_name], moment
            assert "Traceback" not in ended.output, moment
            assert seen(place) in (alone.was if force else {}, alone.new), moment
            names = {path.name for path in place.iterdir() if is_leftover(path.name)}
            assert len(names - left) <= (signal_name == "SIGKILL"), moment
        again = run(place, *line(name, force=True))
        assert again.code == 0, again.output
        assert seen(place) == alone.new
    assert others(inputs) == before


@each_command
def test_two_at_once(
    name: str, inputs: Path, place: Path, undisturbed: Callable[[str], Undisturbed]
) -> None:
    alone = undisturbed(name)
    logs = [inputs / "place.log", inputs / "place.log.2"]
    both = [start(place, *line(name, x), log=log) for x, log in zip("ab", logs, strict=True)]
    ends = [each.ended() for each in both]
    for ended in ends:
        assert "Traceback" not in ended.output
        assert ended.code == 0 or "output" in ended.output, ended.output
    whole = [w for w, ended in zip((alone.new, alone.was), ends, strict=True) if ended.code == 0]
    assert tree(place) in whole
