"""What a stage refuses before it starts, and what it says at its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from robustmerge.errors import MergeError
from robustmerge_bench.midi.sources.packages import PACKAGES
from robustmerge_bench.midi.tasks import SEEN
from robustmerge_bench.midi.training import stages
from robustmerge_bench.midi.training.stages import PLAN, StageInput, run_stage
from robustmerge_bench.mini.training.fit import write_state


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageInput:
    """Return a training with empty packages, whose stages do nothing."""
    for package in PACKAGES:
        (tmp_path / "sources" / package.folder).mkdir(parents=True)
    for name in stages.STAGES:
        monkeypatch.setitem(stages.STAGES, name, lambda work: None)
    return StageInput(tmp_path / "root", tmp_path / "sources")


def reach(work: StageInput, stage: str, step: int, workers: int = 1) -> None:
    work.stages.mkdir(parents=True, exist_ok=True)
    write_state({"step": step, "workers": workers}, work.stages / f"{stage}.pt")


def test_stages_have_an_order(work: StageInput) -> None:
    with pytest.raises(MergeError, match="unknown stage 'expert'"):
        run_stage("expert", work)
    with pytest.raises(MergeError, match="stage projector is at step 0 of 1250"):
        run_stage("align", work)
    reach(work, "projector", 1249)
    with pytest.raises(MergeError, match="go on with it first: --stage projector"):
        run_stage("align", work)
    reach(work, "align", 199)
    with pytest.raises(MergeError, match="stage align is at step 199 of 200"):
        run_stage("instruct", work)
    with pytest.raises(MergeError, match="no trained base"):
        run_stage("experts", work)


def test_how_far_a_stage_is(work: StageInput) -> None:
    reach(work, "projector", 700)
    assert run_stage("projector", work) == "projector: step 700 of 1250; run it again to go on"
    reach(work, "projector", PLAN.projector.steps)
    assert run_stage("projector", work) == "projector: step 1250 of 1250; finished"
    reach(work, "align", 200)
    assert run_stage("align", work) == "align: step 200 of 200; finished"
    (work.root / "base").mkdir()
    assert run_stage("instruct", work) == "instruct: step 1000 of 1000; finished"
    for task in SEEN:
        folder = work.root / "experts" / "shared-0" / task
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").touch()
    assert run_stage("experts", work) == "experts: 8 of 9 are trained; run it again"
    assert run_stage("experts", replace(work, joint=False)) == "experts: 8 of 8 are trained"


@pytest.mark.parametrize("workers", [0, 3, 16])
def test_workers_share_batches_evenly(work: StageInput, workers: int) -> None:
    with pytest.raises(MergeError, match=f"{workers} workers cannot share batches of 8 and 16"):
        run_stage("projector", replace(work, workers=workers))
    assert not work.root.exists()


def test_a_stage_goes_on_with_the_workers_that_began_it(work: StageInput) -> None:
    (work.root / "base").mkdir(parents=True)
    for stage, state in {"projector": "projector", "experts": "shared-0-joint"}.items():
        reach(work, state, 100, workers=1)
        with pytest.raises(MergeError, match=rf"(?s)begun with --workers 1.*{state}\.pt"):
            run_stage(stage, replace(work, workers=2))
        run_stage(stage, work)
    reach(work, "projector", PLAN.projector.steps, workers=2)
    assert run_stage("projector", work).endswith("finished")


def test_packages_are_needed(work: StageInput) -> None:
    (work.sources / PACKAGES[-1].folder).rmdir()
    with pytest.raises(MergeError, match="is not unpacked"):
        run_stage("projector", replace(work, workers=2))
