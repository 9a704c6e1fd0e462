"""Runs: done once, resumed after a kill, the same in one process and in several."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench_factories import scripted_world
from bench_factories.scripted_world import WORLD, ScriptedModel, trained
from factories.adapters import deltas
from robustmerge.errors import MergeError
from robustmerge_bench.jobs.run import JobProgress
from robustmerge_bench.mini.runs.contender import SCALES, Contender
from robustmerge_bench.mini.runs.examine import Examiner, evaluate, merge_adapters
from robustmerge_bench.mini.runs.folders import expert_sets
from robustmerge_bench.mini.runs.job import EvaluationJob
from robustmerge_bench.mini.runs.plan import Comparison, make_jobs
from robustmerge_bench.mini.runs.results import Result
from robustmerge_bench.mini.runs.world import World

METHODS = (Contender("task-arithmetic"), Contender("average"))


def jobs(
    root: Path, *, scales: tuple[str, ...] = ("default",), items: int = 10
) -> list[EvaluationJob]:
    study = Comparison(METHODS, ("input",), scales, items, 10)  # type: ignore[arg-type]
    return make_jobs(root, expert_sets(root, ["shared"], [0]), study, WORLD)


def task_averages(job: EvaluationJob, out: Path) -> dict[str, float]:
    return {t: float(s.mean()) for t, s in Result.read(out / job.file).scores.items()}


def test_every_job_leaves_its_result(tmp_path: Path) -> None:
    todo = jobs(trained(tmp_path / "root"))
    steps: list[JobProgress] = []
    outcome = evaluate(todo, tmp_path / "out", WORLD, progress=steps.append)
    assert (outcome.done, outcome.skipped, outcome.failures) == (len(todo), 0, ())
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(j.file for j in todo)
    assert [step.label for step in steps] == [job.label for job in todo]
    assert steps[-1].left == 0
    assert task_averages(todo[0], tmp_path / "out") == dict.fromkeys(
        ("sqa", "viz", "rec", "aok", "tab"), 20
    )
    assert list(task_averages(todo[1], tmp_path / "out")) == ["sqa"]
    assert task_averages(todo[1], tmp_path / "out")["sqa"] > 40  # an expert on its own task


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    todo, out = jobs(trained(tmp_path / "root")), tmp_path / "out"
    evaluate(todo[:3], out, WORLD)
    kept = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / todo[1].file).write_text((out / todo[1].file).read_text()[:50])  # half written
    outcome = evaluate(todo, out, WORLD)
    assert (outcome.done, outcome.skipped) == (len(todo) - 2, 2)
    untouched = {todo[0].file, todo[2].file}
    assert all((out / name).stat().st_mtime_ns == kept[name] for name in untouched)
    Result.read(out / todo[1].file)

    def never(base: Path) -> ScriptedModel:
        raise AssertionError("nothing is left to do")

    again = evaluate(todo, out, World(scripted_world.tasks, never))
    assert (again.done, again.skipped) == (0, len(todo))


def test_several_processes_find_the_same_as_one(tmp_path: Path) -> None:
    todo = jobs(trained(tmp_path / "root"), scales=("default", "sweep"))
    evaluate(todo, tmp_path / "one", WORLD)
    outcome = evaluate(todo, tmp_path / "two", WORLD, workers=2)
    assert outcome.done == len(todo)
    for job in todo:
        one, two = (Result.read(tmp_path / name / job.file) for name in ("one", "two"))
        assert (one.facts, one.factor, one.sweep) == (two.facts, two.factor, two.sweep)
        assert all(np.array_equal(one.scores[t], two.scores[t]) for t in job.tasks)


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    root, out = trained(tmp_path / "root"), tmp_path / "out"
    todo = jobs(root)
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from bench_factories import scripted_world\n"
        "from robustmerge_bench.mini.runs import plan, folders, examine, contender\n"
        "root, out = map(Path, sys.argv[1:])\n"
        "methods = [contender.Contender(n) for n in ('task-arithmetic', 'average')]\n"
        "study = plan.Comparison(methods, ('input',), ('default',), 10, 10)\n"
        "sets = folders.expert_sets(root, ['shared'], [0])\n"
        "jobs = plan.make_jobs(root, sets, study, scripted_world.WORLD)\n"
        "examine.evaluate(jobs, out, scripted_world.WORLD, progress=lambda step: time.sleep(0.3))\n"
    )
    locations = os.pathsep.join([str(Path(scripted_world.__file__).parents[1]), *sys.path])
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(root), str(out)],
        env={**os.environ, "PYTHONPATH": locations},
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    present = {path.name for path in out.glob("*.json")}
    assert 0 < len(present) < len(todo)
    outcome = evaluate(todo, out, WORLD)
    assert (outcome.skipped, outcome.done) == (len(present), len(todo) - len(present))


def test_one_failure_does_not_keep_the_others(tmp_path: Path) -> None:
    root, out = trained(tmp_path / "root"), tmp_path / "out"
    todo = jobs(root)
    zero_shot, first, second = (job for job in todo if job.kind in ("zero-shot", "merge"))
    hurt = [zero_shot, replace(first, adapters=(*first.adapters[:2], root / "nothing")), second]
    steps: list[JobProgress] = []
    outcome = evaluate(hurt, out, WORLD, progress=steps.append)
    (failure,) = outcome.failures
    assert failure.job.label == "shared-0 task-arithmetic default input"
    assert "nothing" in failure.reason
    assert outcome.done == 2
    assert [bool(step.failure) for step in steps] == [False, True, False]
    assert "1 of 3 jobs failed" in str(outcome.error)
    assert not (out / hurt[1].file).exists()


def test_a_worker_that_dies_is_reported(tmp_path: Path) -> None:
    todo = jobs(trained(tmp_path / "root"))
    world = World(scripted_world.tasks, scripted_world.exit_at_load)
    with pytest.raises(MergeError, match="a worker died"):
        evaluate(todo, tmp_path / "out", world, workers=2)


def test_no_worker_at_all(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="0 jobs at once"):
        evaluate([], tmp_path, WORLD, workers=0)


def test_a_sweep_merges_once_and_finds_the_best_strength(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def counted(*arguments: object, **settings: object) -> object:
        calls.append(arguments[2])  # type: ignore[arg-type]
        return merge_adapters(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr("robustmerge_bench.mini.runs.examine.merge_adapters", counted)
    todo = jobs(trained(tmp_path / "root"), scales=("default", "sweep"))
    default, swept = (
        next(j for j in todo if j.merge and j.merge.scale == s and "average" in j.label)
        for s in ("default", "sweep")
    )
    evaluate([default, swept], tmp_path / "out", WORLD)
    assert len(calls) == 2
    one, two = (Result.read(tmp_path / "out" / j.file) for j in (default, swept))
    assert one.sweep == {}
    tried = two.sweep["tried"]
    assert max(tried.values()) == tried[f"{two.factor:.4g}"]
    assert two.factor != 1
    assert (
        task_averages(swept, tmp_path / "out")["sqa"]
        > task_averages(default, tmp_path / "out")["sqa"]
    )


def test_a_sweep_never_looks_at_test_items_or_unseen_tasks(tmp_path: Path) -> None:
    requested: list[tuple[str, str]] = []

    class Watched(ScriptedModel):
        def answer(self, items):  # type: ignore[no-untyped-def]
            requested.append((items[0].task, items[0].prompt.split()[0]))
            return super().answer(items)

    job = jobs(trained(tmp_path / "root"), scales=("sweep",))[-1]
    Examiner(World(scripted_world.tasks, Watched), job.base).examine(job)
    assert requested[-5:] == [(t, "test") for t in ("sqa", "viz", "rec", "aok", "tab")]
    assert set(requested[:-5]) == {(t, "validation") for t in ("sqa", "viz", "rec")}


def test_protocols_and_ranks_reach_the_merge(tmp_path: Path) -> None:
    root = trained(tmp_path / "root")
    study = Comparison(METHODS[:1], ("input", "full"), tuple(SCALES))
    made = {}
    for job in make_jobs(root, expert_sets(root, ["shared"], [0]), study, WORLD):
        if job.merge:
            report = merge_adapters(job.adapters, job.merge, tmp_path / job.label)
            made[job.merge.scale, job.merge.rank] = report
    assert {key: report.rank for key, report in made.items()} == {
        (scale, rank): {"input": 4, "full": 12}[rank]
        for scale in SCALES
        for rank in ("input", "full")
    }
    scales = {key[0]: report.modules[0].scale for key, report in made.items()}
    assert scales["default"] == scales["sweep"] == 1
    assert 0 < scales["norm-matched"] != scales["geometric"] < 1
    assert len({scales[each] for each in ("norm-matched", "kept", "metric")}) == 3
    sizes = [
        np.sqrt(sum(float(d.norm()) ** 2 for d in deltas(folder).values()))
        for folder in jobs(root)[-1].adapters
    ]
    whole = made["norm-matched", "full"].output
    assert whole is not None
    size = np.sqrt(sum(float(d.norm()) ** 2 for d in deltas(whole).values()))
    assert size == pytest.approx(np.mean(sizes), rel=1e-5)


def test_what_a_method_does_not_take_is_refused_before_any_job(tmp_path: Path) -> None:
    root = trained(tmp_path / "root")
    sets = expert_sets(root, ["shared"], [0])
    relay = Contender("relay")
    study = Comparison((METHODS[0], relay), ("input",), ("default", "sweep"))
    assert [job.label for job in make_jobs(root, sets, study, WORLD) if job.merge == relay]
    with pytest.raises(MergeError, match=r"(?s)does not go with a scale rule.*norm-matched"):
        make_jobs(root, sets, replace(study, scales=("default", "norm-matched")), WORLD)
    balanced = replace(study, contenders=(Contender.parse("norms+relay"),))
    with pytest.raises(MergeError, match=r"(?s)steps around the method.*norms\+relay"):
        make_jobs(root, sets, balanced, WORLD)
