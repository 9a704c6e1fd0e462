"""Stopped or killed, a training goes on from its last whole checkpoint to the same adapter."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from bench_factories.conversations import entry, source_of, write
from faults.refuse import tree
from robustmerge.errors import MergeError
from robustmerge_bench.paper.training import checkpoints, session
from robustmerge_bench.paper.training.checkpoints import checkpoint_folder, latest, prepare
from robustmerge_bench.paper.training.conversations import Source
from robustmerge_bench.paper.training.device import DeviceConfig
from robustmerge_bench.paper.training.progress import TrainingProgress
from robustmerge_bench.paper.training.recipe import TrainingRecipe
from robustmerge_bench.paper.training.train import train

RECIPE = TrainingRecipe(rank=2, batch=2, epochs=2, learning_rate=3e-3)  # with dropout, which draws
DEVICE = DeviceConfig(save_every=2, device_batch=1)


class StopError(Exception):
    """Ends a training from within."""


def stop_at(step: int) -> Callable[[TrainingProgress], None]:
    def report(now: TrainingProgress) -> None:
        if now.done == step:
            raise StopError

    return report


def run(base: Path, source: Source, out: Path, **options: Any) -> dict[str, Any]:
    arguments = {"task": "toy", "recipe": RECIPE, "device": DEVICE, **options}
    return train(str(base), [source], out, **arguments)


@pytest.fixture(scope="module")
def whole(llava: Path, source: Source, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of a training that nobody stopped: seven steps."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run(llava, source, out)["steps"] == 7
    return tree(out)


@pytest.fixture(scope="module")
def started(llava: Path, source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training leaves that was stopped at its fifth step."""
    out = tmp_path_factory.mktemp("begun") / "out"
    with pytest.raises(StopError):
        run(llava, source, out, report=stop_at(5))
    assert not out.exists()
    assert latest(checkpoint_folder(out)) == out.with_name(".out.training") / "checkpoint-4"
    return checkpoint_folder(out)


@pytest.fixture
def stopped(started: Path, tmp_path: Path) -> Path:
    """The output of such a training."""
    shutil.copytree(started, checkpoint_folder(tmp_path / "out"))
    return tmp_path / "out"


def test_it_goes_on_to_the_same_adapter(
    llava: Path, source: Source, stopped: Path, whole: dict[str, Any]
) -> None:
    reports: list[TrainingProgress] = []
    record = run(llava, source, stopped, report=reports.append)
    assert [step.done for step in reports] == [5, 6, 7]
    assert [step for step, _ in record["loss"]] == [1, 2, 3, 4, 5, 6, 7]
    assert tree(stopped) == whole
    assert not checkpoint_folder(stopped).exists()


def test_a_checkpoint_half_written_does_not_count(
    llava: Path, source: Source, stopped: Path, whole: dict[str, Any]
) -> None:
    (checkpoint_folder(stopped) / "checkpoint-4" / checkpoints.MARKER).unlink()
    (checkpoint_folder(stopped) / "checkpoint-4" / "optimizer.pt").write_bytes(b"cut off")
    reports: list[TrainingProgress] = []
    run(llava, source, stopped, report=reports.append)
    assert [step.done for step in reports] == [3, 4, 5, 6, 7]
    assert tree(stopped) == whole


def test_after_the_last_step_there_is_only_to_write(
    llava: Path,
    source: Source,
    tmp_path: Path,
    whole: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(session, "write_adapter", full)
        with pytest.raises(StopError):
            run(llava, source, tmp_path / "out")
    reports: list[TrainingProgress] = []
    run(llava, source, tmp_path / "out", report=reports.append)
    assert not reports
    assert tree(tmp_path / "out") == whole


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"recipe": replace(RECIPE, seed=1)}, "recipe seed: 0 there, 1 here"),
        ({"recipe": replace(RECIPE, init="independent")}, "recipe init: 'shared' there, 'indepen"),
        ({"task": "other"}, "task: 'toy' there, 'other' here"),
        ({"device": replace(DEVICE, device_batch=2)}, "device_batch: 1 there, 2 here"),
    ],
)
def test_other_settings_are_refused_with_both_sides(
    llava: Path, source: Source, stopped: Path, changed: dict[str, Any], line: str
) -> None:
    before = tree(checkpoint_folder(stopped))
    with pytest.raises(MergeError, match="other settings was started here") as caught:
        run(llava, source, stopped, **changed)
    assert line in caught.value.where
    assert "--restart" in caught.value.hint
    assert tree(checkpoint_folder(stopped)) == before


def test_other_data_are_refused(llava: Path, source: Source, stopped: Path) -> None:
    other = source_of(write(stopped.parent / "train.json", [entry("Q", "A")] * 9))
    with pytest.raises(MergeError, match="other settings was started here") as caught:
        run(llava, other, stopped)
    assert "data 1 sha256: " in caught.value.where
    assert "data 1 records: 7 there, 9 here" in caught.value.where


def test_a_restart_forgets_what_was_begun(
    llava: Path, source: Source, stopped: Path, whole: dict[str, Any]
) -> None:
    reports: list[TrainingProgress] = []
    run(llava, source, stopped, restart=True, report=reports.append)
    assert reports[0].done == 1
    assert tree(stopped) == whole


def test_what_has_no_checkpoint_is_not_held_against_anyone(tmp_path: Path) -> None:
    folder = tmp_path / ".out.training"
    assert prepare(folder, {"seed": 0}, restart=False) is None
    (folder / "checkpoint-2").mkdir()
    assert prepare(folder, {"seed": 1}, restart=False) is None
    assert not (folder / "checkpoint-2").exists()
    (folder / "checkpoint-10").mkdir()
    (folder / "checkpoint-9").mkdir()
    for number in (9, 10):
        (folder / f"checkpoint-{number}" / checkpoints.MARKER).touch()
    assert prepare(folder, {"seed": 1}, restart=False) == folder / "checkpoint-10"
    with pytest.raises(MergeError, match="with 1 other settings"):
        prepare(folder, {"seed": 2}, restart=False)


def test_a_training_is_small_while_it_goes_on(llava: Path, source: Source, tmp_path: Path) -> None:
    """Two checkpoints are kept, one of them whole at any time."""
    seen = []

    def report(step: TrainingProgress) -> None:
        seen.append(
            sorted(p.name for p in checkpoint_folder(tmp_path / "out").glob("checkpoint-*"))
        )

    run(llava, source, tmp_path / "out", device=replace(DEVICE, save_every=1), report=report)
    assert max(map(len, seen)) == 2


CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["robustmerge_bench.paper.training.train"])


def train_until(pipe: Connection, base: Path, path: Path, out: Path, moment: str) -> None:
    """A training that says when it is at a moment of its fourth step, and waits there."""
    import torch

    torch.set_num_threads(1)

    def wait(*_: Any) -> None:
        pipe.send(moment)
        pipe.poll(120)

    if moment == "marked":
        after(checkpoints.CheckpointMarker, "on_save", wait, 2)
    else:  # the model is written, the optimizer is not
        from robustmerge_bench.paper.training.trainer import ExpertTrainer

        after(ExpertTrainer, "save_model", wait, 2)
    run(base, source_of(path), out)


def after(owner: Any, name: str, then: Callable[[], None], times: int) -> None:
    """Do something after a method was called for the n-th time."""
    real, calls = getattr(owner, name), []

    def patched(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        calls.append(1)
        if len(calls) == times:
            then()
        return result

    setattr(owner, name, patched)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize(("moment", "last"), [("marked", 4), ("writing", 2)])
def test_killed_it_goes_on_to_the_same_adapter(
    llava: Path, source: Source, tmp_path: Path, whole: dict[str, Any], moment: str, last: int
) -> None:
    out = tmp_path / "out"
    ours, theirs = CONTEXT.Pipe()
    child = CONTEXT.Process(target=train_until, args=(theirs, llava, source.path, out, moment))
    child.start()
    assert ours.poll(120)
    assert ours.recv() == moment
    assert child.pid
    os.kill(child.pid, signal.SIGKILL)
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert not out.exists()
    assert (checkpoint_folder(out) / "checkpoint-4").exists()
    reports: list[TrainingProgress] = []
    run(llava, source, out, report=reports.append)
    assert reports[0].done == last + 1
    assert tree(out) == whole
