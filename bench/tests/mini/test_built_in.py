"""The benchmark's own tasks and model behind the interface that runs are written against."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import get_peft_model

from robustmerge_bench.mini.runs.contender import Contender
from robustmerge_bench.mini.runs.examine import Examiner
from robustmerge_bench.mini.runs.folders import expert_sets
from robustmerge_bench.mini.runs.plan import Comparison, make_jobs
from robustmerge_bench.mini.runs.world import WorldModel, WorldTask, built_in
from robustmerge_bench.mini.tasks import SEEN, UNSEEN
from robustmerge_bench.mini.training.experts import lora, save
from robustmerge_bench.mini.training.model import build
from robustmerge_bench.mini.training.processor import make_tokenizer
from robustmerge_bench.mini.training.sizes import SIZES

# What transformers and PEFT say of each other, and of a base that is no repository.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


def untrained(root: Path) -> Path:
    """A base and experts of random weights, in the files that training writes."""
    torch.manual_seed(0)
    size = SIZES["nano"]
    model = build(size.shape, make_tokenizer())
    model.save_pretrained(root / "base")
    expert = get_peft_model(model, lora(size.expert))
    for name, parameter in expert.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    folder = root / "experts" / "shared-0"
    save(expert, folder / SEEN[0])
    for task in SEEN[1:]:
        shutil.copytree(folder / SEEN[0], folder / task)
    return root


def test_jobs_on_the_real_tasks_and_model(tmp_path: Path) -> None:
    root, world = untrained(tmp_path), built_in()
    study = Comparison((Contender("average"),), items=2)
    jobs = make_jobs(root, expert_sets(root, ["shared"], [0]), study, world)
    assert len(jobs) == 1 + 8 + 1
    examiner = Examiner(world, jobs[0].base)
    answers = {job.label: examiner.examine(job).scores for job in (jobs[0], jobs[-1], jobs[1])}
    for scores in answers.values():
        assert all(s.shape == (2,) and ((s >= 0) & (s <= 100)).all() for s in scores.values())
    assert list(answers["zero-shot"]) == [*SEEN, *UNSEEN]
    assert list(answers["shared-0 expert sqa"]) == ["sqa"]
    again = examiner.examine(jobs[0]).scores
    assert all(np.array_equal(again[t], s) for t, s in answers["zero-shot"].items())


def test_they_are_what_runs_expect(tmp_path: Path) -> None:
    world = built_in()
    assert all(isinstance(task, WorldTask) for task in world.tasks().values())
    root = untrained(tmp_path)
    model = world.model(root / "base")
    assert isinstance(model, WorldModel)
    items = world.tasks()["vqa"].items("test", 3)
    plain = model.answer(items)
    with model.using(root / "experts" / "shared-0" / "sqa", 4.0):
        assert model.answer(items) != plain
    assert model.answer(items) == plain
