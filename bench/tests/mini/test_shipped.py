"""The base and the experts that come with the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustmerge_bench.mini.artifact import Artifact, verify
from robustmerge_bench.mini.student import MiniModel
from robustmerge_bench.mini.tasks import SEEN, TASKS
from robustmerge_bench.mini.training.experts import train_expert
from robustmerge_bench.mini.training.sizes import SIZES

FOLDER = Path(__file__).parents[2] / "artifacts" / "mini"


@pytest.fixture(scope="module")
def shipped() -> Artifact:
    """The artifact, checked."""
    return verify(FOLDER)


def test_every_file_is_what_the_manifest_says(shipped: Artifact) -> None:
    assert set(shipped.experts) == set(SEEN)
    assert shipped.joint.is_dir()
    assert shipped.manifest["bytes"] < 20_000_000
    assert shipped.manifest["made_by"]["seed"] == 0


def test_an_expert_knows_its_task_and_the_base_does_not(shipped: Artifact) -> None:
    mini = MiniModel.load(shipped.base)
    items = TASKS["imn"].items("validation", 60)
    before = TASKS["imn"].score(mini.answer(items), items).mean()
    with mini.using(shipped.experts["imn"]):
        after = TASKS["imn"].score(mini.answer(items), items).mean()
    assert 20 < before < 80
    assert after > 95


@pytest.mark.slow
@pytest.mark.parametrize("task", ["rec"])
def test_an_expert_trained_again_is_as_good(shipped: Artifact, tmp_path: Path, task: str) -> None:
    train_expert(shipped.base, tmp_path / task, task, "shared", 0, SIZES["mini"].expert)
    mini = MiniModel.load(shipped.base)
    items = TASKS[task].items("test", 300)
    scores = []
    for adapter in (shipped.experts[task], tmp_path / task):
        with mini.using(adapter):
            scores.append(TASKS[task].score(mini.answer(items), items))
    # Three standard errors of the difference of two means of 300 items.
    noise = 3 * ((scores[0].var() + scores[1].var()) / len(items)) ** 0.5
    assert abs(scores[0].mean() - scores[1].mean()) < noise
    assert scores[1].mean() > 80
