"""Jobs on a Ray cluster of two nodes, one of which is killed; run by `make cluster`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bench_factories.node_notes import Note, is_done, start
from bench_factories.scripted_world import WORLD, trained
from factories.adapters import trio
from robustmerge.cluster import JobNeeds, RayEngine
from robustmerge.engine.recipe import Recipe
from robustmerge.errors import MergeError
from robustmerge.tuning.report import TuneReport
from robustmerge.tuning.run import tune_recipe
from robustmerge.tuning.search import SearchSettings
from robustmerge_bench.jobs.run import run_jobs
from robustmerge_bench.mini.runs.contender import Contender
from robustmerge_bench.mini.runs.examine import evaluate
from robustmerge_bench.mini.runs.folders import expert_sets
from robustmerge_bench.mini.runs.plan import Comparison, make_jobs
from robustmerge_bench.mini.runs.results import Result

pytestmark = pytest.mark.cluster


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Two nodes of one core each; commands find them by RAY_ADDRESS."""
    from ray.cluster_utils import Cluster

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_worker_niceness", "0")  # 15 by default: endless on a busy machine
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # of the workers
    running = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    running.add_node(num_cpus=1)
    running.wait_for_nodes()
    monkeypatch.setenv("RAY_ADDRESS", running.address)
    yield running
    running.shutdown()


def test_a_killed_node_loses_no_job(cluster: Any, tmp_path: Path) -> None:
    jobs = [Note(f"job{n}") for n in range(5)] + [Note("bad")]
    (tmp_path / "job0").touch()
    other, log = next(iter(cluster.worker_nodes)), tmp_path / "starts"

    def kill() -> None:
        """Kill the second node as soon as it has work."""
        while not (log.exists() and other.node_id in log.read_text()):
            time.sleep(0.05)
        cluster.remove_node(other, allow_graceful=False)

    killer = Thread(target=kill, daemon=True)
    killer.start()
    done, begin = partial(is_done, out=tmp_path), partial(start, tmp_path)
    outcome = run_jobs(jobs, done, begin, engine=RayEngine())
    assert not killer.is_alive()
    assert (outcome.done, outcome.skipped) == (4, 1)
    assert [(f.job.label, f.reason) for f in outcome.failures] == [("bad", "a reason")]
    assert all(is_done(job, tmp_path) for job in jobs[:-1])
    starts = [line.split() for line in log.read_text().splitlines()]
    (lost,) = {label for label, node in starts if node == other.node_id}
    assert {node for label, node in starts if label == lost} > {other.node_id}
    assert (tmp_path / lost).read_text() != other.node_id


def test_errors_of_workers_end_the_run(cluster: Any, tmp_path: Path) -> None:
    done, begin = partial(is_done, out=tmp_path), partial(start, tmp_path)
    with pytest.raises(MergeError, match="a refusal"):
        run_jobs([Note("refused")], done, begin, engine=RayEngine())
    with pytest.raises(MergeError, match="a worker died 4 times"):
        run_jobs([Note("dies")], done, begin, engine=RayEngine())
    with pytest.raises(MergeError, match="takes 2 GPU, and the cluster has 0"):
        run_jobs([Note("job")], done, begin, engine=RayEngine(needs=JobNeeds(gpus=2.0)))
    with pytest.raises(MergeError, match="its result is not here"):
        run_jobs([Note("job")], lambda job: False, begin, engine=RayEngine())


def test_the_benchmark_finds_the_same_as_on_one_machine(cluster: Any, tmp_path: Path) -> None:
    root = trained(tmp_path / "root")
    contenders = (Contender("ties"), Contender("average"))
    comparison = Comparison(contenders, ("input",), ("default", "sweep"), 10, 10)
    todo = make_jobs(root, expert_sets(root, ["shared"], [0]), comparison, WORLD)
    evaluate(todo, Path("local"), WORLD)
    outcome = evaluate(todo, Path("cluster"), WORLD, engine=RayEngine())
    assert (outcome.done, outcome.failures) == (len(todo), ())
    for job in todo:
        texts = [_without_times(folder / job.file) for folder in (Path("local"), Path("cluster"))]
        assert texts[0] == texts[1]
    again = evaluate(todo, Path("cluster"), WORLD, engine=RayEngine())
    assert (again.done, again.skipped) == (0, len(todo))


def test_a_search_finds_the_same_as_on_one_machine(cluster: Any, tmp_path: Path) -> None:
    """A node is killed when the first three of six trials have ended."""
    (tmp_path / "score.py").write_text(
        "import sys, zlib\n"
        "file = open(sys.argv[1] + '/adapter_model.safetensors', 'rb')\n"
        "print(zlib.crc32(file.read()) % 1000)\n"
    )
    recipe = Recipe(tuple(trio(tmp_path)), method="ties")
    other = next(iter(cluster.worker_nodes))

    def ended(report: TuneReport, number: int) -> None:
        if number == 2 and other in cluster.worker_nodes and report.output.name == "there":
            cluster.remove_node(other, allow_graceful=False)

    for name, engine in (("here", None), ("there", RayEngine())):
        tune_recipe(
            recipe,
            tmp_path / name,
            search=("scale", "parameters:density"),
            commands={"score": f"{sys.executable} score.py {{adapter}}"},
            settings=SearchSettings(trials=6, at_once=3),
            engine=engine,
            ended=ended,
        )
    for file in ("recipe.yaml", "merged/adapter_model.safetensors"):
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes()
    files = {file.name for file in (tmp_path / "there").iterdir()}
    assert files == {"tune.json", "study.db", "recipe.yaml", "merged"}


def _without_times(path: Path) -> bytes:
    """Return a result's bytes with its durations left out, which no two runs share."""
    seconds = Result.read(path).seconds
    assert seconds
    begin, rest = path.read_bytes().split(b'"seconds":{')
    return begin + rest.partition(b"}")[2]
