"""Limits of the system on files, their sizes and memory: an error, and nothing left or removed."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from derive.test_convert import SUMS, trained
from factories.adapters import adapter, older_merge, trio
from factories.checkpoints import base, weights
from faults.refuse import command, tree

LARGE = {f"model.language_model.layers.{n}.self_attn.q_proj": (400, 300) for n in range(8)}
VERBS = {
    "merge": "merge in/a in/b in/c",
    "merge, in two files": "merge in/p in/p --extras-in beside -m task-arithmetic",
    "resize": "resize in/a --rank 2",
    "extract": "extract tuned --base base --rank 2",
    "export full": "export in/a --base base --format full",
    "export embedded": "export in/a --base base --format embedded",
    "convert": "convert other/kind --base other/base",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of every command."""
    root = tmp_path_factory.mktemp("inputs")
    trio(root / "in", modules=LARGE, rank=8)
    projector = {"model.multi_modal_projector.linear_1.weight": torch.ones(100, 100)}
    adapter(root / "in/p", extras=projector)
    start = weights() | {f"{n}.weight": torch.randn(*shape) for n, shape in LARGE.items()}
    base(root / "base", start)
    base(root / "tuned", {n: t + 1 if n.endswith("q_proj.weight") else t for n, t in start.items()})
    (root / "other").mkdir()
    trained(root / "other", SUMS["LoHa"][0])
    return root


@pytest.fixture(autouse=True)
def here(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(inputs)


@contextmanager
def limited(which: int, value: int) -> Iterator[None]:
    """Lower a limit of this process for a while."""
    soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))


def line(verb: str, *more: str) -> list[str]:
    return [*VERBS[verb].split(), "-o", "out", *more]


@pytest.mark.parametrize("size", [0, 300, 2_500, 20_000])
@pytest.mark.parametrize("verb", VERBS)
def test_files_that_may_not_grow(verb: str, size: int, inputs: Path) -> None:
    before = tree(inputs)
    with limited(resource.RLIMIT_FSIZE, size):
        code, errors = command(*line(verb))
    if code:  # a small result fits
        assert errors.startswith("error: cannot write the output: ")
        assert "nothing was left behind" in errors
        assert tree(inputs) == before
    assert code or size == 20_000
    _remove(inputs / "out")


@pytest.mark.parametrize("verb", ["merge", "resize"])
def test_an_older_result_stays_where_a_new_one_may_not_grow(verb: str, inputs: Path) -> None:
    older_merge(inputs / "out")
    before = tree(inputs)
    with limited(resource.RLIMIT_FSIZE, 300):
        code, errors = command(*line(verb, "--force"))
    assert (code, tree(inputs) == before) == (1, True), errors
    _remove(inputs / "out")


@pytest.mark.parametrize("spare", [0, 1, 2, 4, 8, 16])
@pytest.mark.parametrize("verb", VERBS)
def test_few_open_files(verb: str, spare: int, inputs: Path) -> None:
    before = tree(inputs)
    used = max(int(name.name) for name in Path("/proc/self/fd").iterdir()) + 1
    with limited(resource.RLIMIT_NOFILE, used + spare):
        code, errors = command(*line(verb))
    if code:
        assert errors.startswith("error: ")
        assert "Too many open files" in errors or "few files" in errors
        assert tree(inputs) == before
    _remove(inputs / "out")


LIMITED = """
import resource, sys
from robustmerge.cli.app import main
import robustmerge.engine.merge, robustmerge.derive.extract, robustmerge.export.exported
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv.pop(1)),) * 2)
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("spare", [0, 1 << 20, 8 << 20, 32 << 20])
@pytest.mark.parametrize("verb", VERBS)
def test_little_memory(verb: str, spare: int, inputs: Path) -> None:
    before = tree(inputs)
    arguments = [sys.executable, "-c", LIMITED, str(spare), *line(verb)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        assert "error: " in done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        assert tree(inputs) == before
    _remove(inputs / "out")


@pytest.mark.parametrize(
    "message",
    ["can't start new thread", "unable to mmap 9 bytes from file <a>: Cannot allocate memory (12)"],
)
def test_errors_that_mean_memory(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Callable[[], None]:
        raise RuntimeError(message)

    monkeypatch.setattr("robustmerge.engine.merge.whole_folder", fail)
    code, errors = command(*line("merge"))
    assert (code, errors.startswith(f"error: out of memory: {message}")) == (1, True)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink()
    if folder.exists():
        folder.rmdir()
