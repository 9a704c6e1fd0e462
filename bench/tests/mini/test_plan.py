"""Which jobs there are, and what makes one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench_factories.scripted_world import SEEN, UNSEEN, WORLD, ScriptedTask, tasks, trained
from factories.adapters import adapter
from robustmerge.errors import MergeError
from robustmerge_bench.item import Item
from robustmerge_bench.mini.runs.contender import Contender
from robustmerge_bench.mini.runs.folders import ExpertSet, expert_sets
from robustmerge_bench.mini.runs.job import EvaluationJob
from robustmerge_bench.mini.runs.plan import Comparison, hash_of_world, make_jobs
from robustmerge_bench.mini.world.splits import Split

TWO = (Contender("ties"), Contender("average"))


def jobs(root: Path, study: Comparison, seeds: tuple[int, ...] = (0,)) -> list[EvaluationJob]:
    return make_jobs(root, expert_sets(root, ["shared"], seeds), study, WORLD)


def test_references_first_then_every_merge_of_every_set(tmp_path: Path) -> None:
    trained(tmp_path, ["shared-0", "shared-1"])
    study = Comparison(TWO, ("input", "full"), ("default", "sweep"), 5, 3)
    result = jobs(tmp_path, study, (0, 1))
    references = ["expert sqa", "expert viz", "expert rec", "joint"]
    labels = [job.label for job in result]
    assert labels[0] == "zero-shot"
    assert labels[1:9] == [f"shared-{s} {r}" for s in (0, 1) for r in references]
    assert labels[9:12] == [
        "shared-0 ties default input",
        "shared-1 ties default input",
        "shared-0 average default input",
    ]
    assert len(labels) == len(set(labels)) == 9 + 2 * 2 * 2 * 2
    assert len({job.file for job in result}) == len(result)
    assert {job.validation for job in result if "sweep" in job.label} == {3}
    assert {job.validation for job in result if "sweep" not in job.label} == {0}


def test_experts_sit_their_own_task_or_all(tmp_path: Path) -> None:
    trained(tmp_path, joint=False)
    own = [job for job in jobs(tmp_path, Comparison(())) if job.kind == "expert"]
    assert [list(job.tasks) for job in own] == [[task] for task in SEEN]
    every = [job for job in jobs(tmp_path, Comparison((), matrix=True)) if job.kind == "expert"]
    assert {tuple(job.tasks) for job in every} == {(*SEEN, *UNSEEN)}
    assert not {job.file for job in own} & {job.file for job in every}


def test_what_determines_a_result_changes_its_file(tmp_path: Path) -> None:
    trained(tmp_path)
    study = Comparison((Contender.parse("ties:density=0.3"),), items=5)
    before = {job.label: job.file for job in jobs(tmp_path, study)}
    merge = next(label for label in before if "ties" in label)

    adapter(tmp_path / "experts" / "shared-0" / "viz", seed=77)
    after = {job.label: job.file for job in jobs(tmp_path, study)}
    changed = {label for label in before if before[label] != after[label]}
    assert changed == {"shared-0 expert viz", merge}

    (tmp_path / "base" / "config.json").write_text("{}")
    third = {job.label: job.file for job in jobs(tmp_path, study)}
    assert all(third[label] != after[label] for label in after)
    fourth = {job.label: job.file for job in jobs(tmp_path, replace(study, items=6))}
    assert all(fourth[label] != third[label] for label in third)


def test_a_default_that_is_written_out_is_another_label_but_version_and_path_do_decide(
    tmp_path: Path,
) -> None:
    trained(tmp_path / "one")
    trained(tmp_path / "two")
    study = Comparison((Contender("ties"),), items=5)
    one, two = jobs(tmp_path / "one", study)[-1], jobs(tmp_path / "two", study)[-1]
    assert one.file == two.file  # no path in it
    assert one.file != replace(one, version="0").file
    assert one.facts()["parameters"]["density"] == 0.2


def test_results_of_robustmerge_are_found_under_its_former_parameters(tmp_path: Path) -> None:
    trained(tmp_path)
    study = Comparison((Contender("robustmerge"),), items=5)
    assert jobs(tmp_path, study)[-1].facts()["parameters"] == {
        "density": 0.2,
        "clamp": 0.8,
        "gain_A": 2.0,
        "gain_B": 2.0,
        "prune": True,
        "scaling": True,
        "normalize": True,
        "scale_from": "inter",
    }


@dataclass(frozen=True)
class Brighter(ScriptedTask):
    def items(self, split: Split, count: int, seed: int = 0) -> list[Item]:
        result = super().items(split, count, seed)
        return [replace(item, image=item.image + 1) for item in result]


def test_another_world_has_another_hash() -> None:
    world: Mapping[str, ScriptedTask] = tasks()
    assert hash_of_world(world) == hash_of_world(tasks())
    assert hash_of_world({**world, "aok": Brighter("aok", False)}) != hash_of_world(world)


def test_what_is_not_trained_is_named(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="no experts shared-0, shared-3"):
        expert_sets(tmp_path, ["shared"], [0, 3])
    trained(tmp_path)
    with pytest.raises(MergeError, match="no experts shared-3") as caught:
        expert_sets(tmp_path, ["shared"], [0, 3])
    assert "there are shared-0" in str(caught.value)
    (tmp_path / "experts" / "shared-0" / "viz" / "adapter_config.json").unlink()
    with pytest.raises(MergeError, match="no adapter for viz"):
        jobs(tmp_path, Comparison(()))
    (tmp_path / "base" / "config.json").unlink()
    with pytest.raises(MergeError, match="no trained base"):
        jobs(tmp_path, Comparison(()))


def test_frozen_sets_are_a_family_of_their_own(tmp_path: Path) -> None:
    trained(tmp_path, ["shared-2-frozen"])
    (result,) = expert_sets(tmp_path, ["shared"], [2], frozen=True)
    assert result == ExpertSet(tmp_path / "experts" / "shared-2-frozen", "shared", 2, True)
    assert (result.name, result.family) == ("shared-2-frozen", "shared-frozen")


def test_a_joint_adapter_serves_sets_of_both_kinds_of_start(tmp_path: Path) -> None:
    joint = tmp_path / "experts" / "shared-3" / "joint"
    joint.mkdir(parents=True)
    (joint / "adapter_config.json").write_text("{}")
    (tmp_path / "experts" / "independent-3").mkdir()
    (tmp_path / "experts" / "independent-4").mkdir()
    sets = expert_sets(tmp_path, ["independent"], [3, 4])
    assert [each.joint for each in sets] == [joint, None]
