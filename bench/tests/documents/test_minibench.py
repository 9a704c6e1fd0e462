"""docs/minibench.md: what is missing is run, or named; the rest comes from raw results alone."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from bench_factories import scripted_world as pretend
from bench_factories.results import merge, on, references, scores
from bench_factories.scripted_world import WORLD, ScriptedModel, trained
from minibench_parts import charts, condense, jobs as plans, raw_results, studies, tables
from minibench_parts.document import document, not_run
from robustmerge.errors import MergeError
from robustmerge_bench.mini.runs.contender import Contender, parse_all
from robustmerge_bench.mini.runs.job import EvaluationJob
from robustmerge_bench.mini.runs.results import Result
from robustmerge_bench.mini.runs.world import World
from robustmerge_bench.results.resampling import ScoreEstimate

TEMPLATE = Path(__file__).parents[3] / "docs" / "minibench.in.md"


def no_sizes(*_: object) -> dict[str, float]:
    return {"sqa of shared-0": 0.02}


def asked(root: Path, **more: object) -> plans.DocumentRequest:
    sets = plans.sets_in(root)
    arguments = {"ranks": ("input",), "scales": ("default",), "items": 10, "validation": 10, **more}
    return plans.DocumentRequest(root, sets, sets[:1], parse_all(["average"]), **arguments)  # type: ignore[arg-type]


def raw(views: list[tables.Data], outcome: list[tables.Data] | None = None) -> tables.Data:
    return {
        "items": 200,
        "validation": 100,
        "methods": ["ties", "dare", "wudi"],
        "with_data": ["fisher"],
        "made": {"robustmerge": "0", "torch": "2", "cores": 2},
        "commands": ["$ make minibench"],
        "views": views,
        "studies": outcome or [],
    }


def two_merges() -> list[Result]:
    swept = merge("ties", on(60, 40, 35), "sweep", factor=2.0)
    return [
        *references(),
        merge("ties", on(60, 40, 35)),
        merge("dare", on(45, 15, 25)),
        Result(
            swept.facts, swept.scores, 2.0, {"tried": {"1": 41.0, "2": 50.0}, "at_limit": False}
        ),
    ]


def cells(lines: list[str], name: str) -> list[str]:
    (row,) = [line for line in lines if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def test_numbers_of_made_up_results() -> None:
    (view,) = condense.condense_views(two_merges(), 200, no_sizes, draws=100)
    default, swept = view["sections"]
    ties, dare = default["rows"]
    assert (ties["merge"], ties["seen"][0], ties["unseen"][0]) == ("ties", 50, 35)
    assert (ties["worst"][0], ties["worst_task"]) == (40, "rec")
    assert ties["kept"][0] == 50  # (50 - 30) / (70 - 30)
    assert dare["kept"][0] == 0
    assert ties["kept"][1] <= 50 <= ties["kept"][2]
    assert default["beats"] == {"ties": ".+", "dare": "-."}
    assert (ties["won"], ties["lost"], dare["won"], dare["lost"]) == (1, 0, 0, 1)
    assert "tried" not in ties
    assert swept["rows"][0]["tried"] == {"1": 41.0, "2": 50.0}
    assert swept["rows"][0]["factors"] == [2.0]
    assert view["hashes"] == {"base": "b", "world": "w"}
    assert {g["name"]: g["passed"] for g in view["gates"]}["relative size of the updates"]
    assert view["experts"]["unseen"] is None


def test_tables_of_made_up_results() -> None:
    (view,) = condense.condense_views(two_merges(), 200, no_sizes, draws=100)
    ties = cells(tables.scale_table(view, "default"), "ties")
    assert [cell.split(" ")[0] for cell in ties] == ["50.0", "40.0", "35.0", "50", "1/0"]
    assert cells(tables.scale_table(view, "sweep"), "ties")[-2:] == ["2", "0/0"]
    assert cells(tables.overview(view), "ties") == ["50.0", "50.0"]
    assert cells(tables.overview(view), "dare") == ["30.0", "–"]
    assert cells(tables.overview(view), "zero-shot")[0] == "30.0"
    assert cells(tables.per_task(view, "default"), "ties") == ["60.0", "40.0", "35.0"]
    assert cells(tables.per_task(view, "default"), "own experts") == ["80.0", "60.0", "–"]
    assert cells(tables.pairwise(view, "default"), "dare") == ["loses", ""]
    assert cells(tables.tasks(view), "rec") == ["REC", "seen", "iou", "6", "20.0", "60.0", "60.0"]
    assert tables.scale_table(view, "geometric") == []


def test_full_rank_stands_beside_input_rank() -> None:
    results = [*two_merges(), merge("dare", on(70, 50, 40), rank="full")]
    (view,) = condense.condense_views(results, 200, no_sizes, draws=100)
    outcome = tables.scale_table(view, "default")
    assert [c.split(" ")[0] for c in cells(outcome, "dare")[-3:]] == ["60.0", "40.0", "75"]
    assert cells(outcome, "ties")[-3:] == ["–", "–", "–"]


def test_seeds_that_differ_in_what_was_run_are_also_shown_alone() -> None:
    both = [merge("ties", on(60, 40, 35), seed=seed) for seed in (0, 1)]
    results = [*references(seeds=(0, 1)), *both, merge("dare", on(45, 15, 25), seed=1)]
    whole, alone = condense.condense_views(results, 200, no_sizes, draws=100)
    assert (whole["seeds"], [r["merge"] for r in whole["sections"][0]["rows"]]) == (
        [0, 1],
        ["ties"],
    )
    assert whole["sections"][0]["rows"][0]["by_seed"] == [50, 50]
    assert (alone["seeds"], alone["sections"][0]["order"]) == ([1], ["ties", "dare"])
    assert "- shared, seeds 0, 1: 1 merges for some of the seeds only" in not_run(
        raw([whole, alone])
    )


def test_only_results_over_the_items_asked_for() -> None:
    (view,) = condense.condense_views(
        [*two_merges(), merge("wudi", on(50, 50, 50), items=10)], 200, no_sizes, draws=50
    )
    assert view["sections"][0]["order"] == ["ties", "dare"]


def test_pictures_are_of_the_experts_with_most_merges() -> None:
    few, many, more = (
        {"sections": [{"rows": [0] * n} for n in rows]} for rows in ((3, 1), (2, 5), (1, 6))
    )
    assert charts.fullest([few, many, more]) is many


def test_figures_that_mean_nothing_are_null() -> None:
    assert condense._rounded(ScoreEstimate(float("nan"), 0.0, 1.0)) is None
    assert condense._rounded(ScoreEstimate(3.14159, float("nan"), 1.0)) == [3.14, 1]
    assert tables.spread([3.14, 1]) == "3.1"
    assert tables.spread(None) == "–"


STATED: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "table6": {
        "none: sum of A, mean of B": {"prune": False, "scaling": False},
        "prune": {"prune": True, "scaling": False, "normalize": True},
        "prune, scale": {"prune": True, "scaling": True, "normalize": False},
        "prune, scale, normalize": {"prune": True, "scaling": True, "normalize": True},
    },
    "table7": {
        "none": {"scaling": False},
        "individual, A": {"scale_from": "A", "scaling": True},
        "individual, B": {"scale_from": "B", "scaling": True},
        "individual, A and B": {"scale_from": "both", "scaling": True},
        "inter-parameter: of A, on B": {"scale_from": "inter", "scaling": True},
    },
}


def test_ablations_are_the_merges_they_are_called() -> None:
    everything = Contender("robustmerge-ablation").parameters  # nothing off: robustmerge
    for study in studies.every(8):
        for point in study.points:
            parameters = everything | Contender.parse(point.merge).parameters
            if study.name in STATED and point.row in STATED[study.name]:
                wanted = STATED[study.name][point.row]
                assert {name: parameters[name] for name in wanted} == wanted
                assert parameters["density"] == 0.2
            if study.name == "density":
                assert parameters["density"] == point.x
                assert parameters["scaling"] is (point.row == "robustmerge")
            if study.name == "criterion" and "scaling" not in point.row:
                assert (parameters["density"], point.row.split(" on ")[1]) == (
                    0.2,
                    parameters["space"] + "s",
                )
    assert [len(s.points) for s in studies.every(8)] == [6, 5, 16, 7, 28]
    assert {p.paper for p in studies.COMPONENTS.points} == {(), (53.93,), (56.14,), (57.33,)}


def test_the_first_experts_alone(tmp_path: Path) -> None:
    whole = plans.tables(asked(trained(tmp_path / "root")), WORLD)[-1]
    two = plans.merge_first(whole, 2)
    assert [folder.name for folder in two.adapters] == ["sqa", "viz"]
    assert two.tasks == {"sqa": True, "viz": True, "aok": False, "tab": False}
    assert set(two.hashes) == {"base", "world", "sqa", "viz"}
    assert plans.merge_first(whole, 3).file == plans.merge_first(whole, 0).file == whole.file


def test_time_is_counted_in_answers() -> None:
    tasks = {"sqa": True, "rec": True, "aok": False}
    job = EvaluationJob("zero-shot", tasks, 500, Path(), {})
    speed = plans.EvaluationSpeed(0.01)
    assert speed.of(job) == pytest.approx(15)
    swept = EvaluationJob("zero-shot", tasks, 500, Path(), {}, validation=100)
    assert speed.of(swept) == pytest.approx(15 + 0.01 * plans.SWEEP * 200)
    assert plans.estimate([job, job], speed, 2) == pytest.approx(15)
    outcome = merge("ties", on(60, 40, 35), method="ties", seconds=3.0)
    timed = Result(outcome.facts, outcome.scores, seconds={"merge": 3.0, "answer": 6.0})
    measured = plans.EvaluationSpeed.measured([timed])
    assert (measured.item, measured.merge("ties")) == (pytest.approx(0.01), 3.0)


def answered(job: EvaluationJob, out: Path) -> None:
    """A made-up result: 20 zero-shot, 80 of an expert, and of a merge 10 a task that it merges."""
    value = {"zero-shot": 20.0, "expert": 80.0, "joint": 90.0}.get(
        job.kind, 10.0 * len(job.adapters)
    )
    Result(job.facts(), {task: scores(value, job.items) for task in job.tasks}).write(
        out / job.file
    )


def test_a_study_over_numbers_of_tasks_compares_with_those_tasks(tmp_path: Path) -> None:
    cases = plans.cases(asked(trained(tmp_path / "root")), WORLD)
    mine = [c for c in cases if c.study.name == "number" and c.scale == "default"]
    out = tmp_path / "out"
    for case in mine:
        for job in (*case.references, *([case.job] if case.point.row != "tsv-m" else [])):
            answered(job, out)
    (outcome,) = condense.condense_studies(mine, out, draws=50)
    assert outcome["missing"] == [["tsv-m", 2, "default"], ["tsv-m", 3, "default"]]
    ties = {p["x"]: p for p in outcome["points"] if p["row"] == "ties"}
    assert {x: p["seen"][0] for x, p in ties.items()} == {2: 20, 3: 30}
    assert list(ties[2]["tasks"]) == ["sqa", "viz", "aok", "tab"]
    assert {x: round(p["kept"][0], 1) for x, p in ties.items()} == {2: 0, 3: 16.7}  # 10 of 60
    assert ties[2]["zero_shot"] == {"seen": 20, "unseen": 20}
    assert "Not run: tsv-m at 2, 3 (own scale)." in document(
        "{{number}}", raw([], [outcome]), tmp_path
    )
    assert cells(tables.curves(outcome, "default", "kept"), "ties") == ["0.0", "16.7"]


def test_a_study_without_its_references_has_no_points(tmp_path: Path) -> None:
    cases = plans.cases(asked(trained(tmp_path / "root")), WORLD)
    mine = [c for c in cases if c.study.name == "table7" and c.scale == "default"]
    for case in mine:
        answered(case.job, tmp_path / "out")
    (outcome,) = condense.condense_studies(mine, tmp_path / "out", draws=50)
    assert not outcome["points"]
    assert len(outcome["missing"]) == 5


def test_sets_of_other_ranks_are_a_study_of_their_own(tmp_path: Path) -> None:
    root = trained(tmp_path / "root", ["shared-0", "shared-0-rank8", "independent-1"])
    assert [each.name for each in plans.sets_in(root)] == ["shared-0", "independent-1"]
    cases = plans.cases(asked(root), WORLD)
    mine = [c for c in cases if c.study.name == "rank" and c.scale == "sweep"]
    assert {(c.point.x, c.job.family) for c in mine} == {(4, "shared"), (8, "shared-rank8")}
    out = tmp_path / "out"
    for case in mine:
        for job in (*case.references, case.job):
            answered(job, out)
    (outcome,) = condense.condense_studies(mine, out, draws=50)
    assert {(p["row"], p["x"]) for p in outcome["points"]} == {
        (row, x) for row in studies.RIVALS for x in (4, 8)
    }
    assert not outcome["missing"]
    with pytest.raises(MergeError, match="no experts shared-7"):
        plans.select_sets(root, ["shared-0", "shared-7"])


def test_what_was_not_run_is_said(tmp_path: Path) -> None:
    (view,) = condense.condense_views(two_merges(), 200, no_sizes, draws=50)
    text = document(TEMPLATE.read_text(), raw([view]), tmp_path)
    for words in (
        "Not run: where the coefficient comes from (table 7).",
        "Not run: every expert on every task",
        "- experts shared: 1 of 3 seeds",
        "- experts independent: 0 of 3 seeds",
        "- shared, seed 0: scale default, input rank: wudi",
        "- shared, seed 0: scale geometric, full rank",
        "- rank of the experts (figure 6): nothing",
        "Not drawn: one test item of each task",
    ):
        assert words in text
    assert "{{" not in text


def test_a_slot_that_nothing_fills_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="no slot 'nonsense'"):
        document("{{nonsense}}", raw([]), tmp_path)


def test_raw_results_are_the_same_when_read_again(tmp_path: Path) -> None:
    (view,) = condense.condense_views(two_merges(), 200, no_sizes, draws=50)
    path = tmp_path / "new" / "results.json"
    raw_results.write(raw([view]), path)
    again = raw_results.read(path)
    assert {k: v for k, v in again.items() if k != "format"} == json.loads(json.dumps(raw([view])))
    assert any(line.strip().startswith('{"merge":"ties"') for line in path.read_text().split("\n"))
    path.write_text("{}")
    with pytest.raises(MergeError, match="format None rather than 1"):
        raw_results.read(path)


def test_pictures_of_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "items", lambda: None)
    point = {"row": "ties", "zero_shot": {"seen": 20}, "seen": [40, 30, 50], "unseen": [3, 2, 4]}
    curve = [{**point, "x": x, "scale": s} for x in (0.1, 0.2) for s in ("default", "sweep")]
    density = {"study": "density", "title": "t", "x_label": "x", "family": "shared", "seeds": [0]}
    (view,) = condense.condense_views(two_merges(), 200, no_sizes, draws=50)
    drawn = charts.draw(raw([view], [{**density, "points": curve}]), tmp_path)
    assert [path.stem for path in drawn] == ["scatter", "scale", "density"]
    before = {path: path.read_bytes() for path in drawn}
    assert all(data.startswith(b"\x89PNG") for data in before.values())
    assert charts.draw(raw([view]), tmp_path) == drawn[:2]
    assert not drawn[2].exists()
    assert drawn[0].read_bytes() == before[drawn[0]]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    outcome = importlib.import_module("minibench")
    monkeypatch.setattr(charts, "items", lambda: None)
    return outcome


def test_from_a_trained_benchmark_to_the_document(  # type: ignore[no-untyped-def]
    script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = trained(tmp_path / "root"), tmp_path / "out"
    path, results = tmp_path / "docs" / "minibench.md", tmp_path / "results.json"
    files = ["--results", str(results), "--document", str(path), "--template", str(TEMPLATE)]
    arguments = [str(root), "--out", str(out), "--items", "10", "--validation", "10", "--jobs", "1"]
    arguments += ["--methods", "average", "--scales", "default", "--ranks", "input", *files]
    script.main([*arguments, "--only", "tables", "table7", "--dry-run"], WORLD)
    assert "table7: 15 of 15 models" in capsys.readouterr().err
    assert not out.exists()
    script.main([*arguments, "--only", "tables", "table7"], WORLD)
    assert len(list(out.glob("*.json"))) == 1 + 3 + 1 + 1  # zero-shot, experts, joint, average
    assert len(list((out / plans.STUDIES).glob("*.json"))) == 10
    text, data = path.read_text(), results.read_bytes()
    (outcome,) = [s for s in raw_results.read(results)["studies"] if s["study"] == "table7"]
    assert len(outcome["points"]) == 10
    assert "| inter-parameter: of A, on B | `robustmerge` |" in text
    assert (path.with_suffix("") / "scatter.png").is_file()

    def never(base: Path) -> ScriptedModel:
        raise AssertionError("nothing is left to do")

    script.main([*arguments, "--only", "tables", "table7"], World(pretend.tasks, never))
    assert results.read_bytes() == data
    path.unlink()
    script.main(files)  # without the trained benchmark
    assert path.read_text() == text


def test_a_failure_is_told_after_the_document(script, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    root, out = trained(tmp_path / "root"), tmp_path / "out"
    path = tmp_path / "docs" / "minibench.md"
    arguments = [str(root), "--out", str(out), "--items", "2", "--jobs", "1", "--only", "tables"]
    arguments += ["--results", str(tmp_path / "r.json"), "--document", str(path)]
    arguments += ["--template", str(TEMPLATE), "--methods", "average", "karcher"]
    arguments += ["--scales", "default", "--ranks", "input"]

    def fails(base: Path) -> ScriptedModel:
        model = ScriptedModel(base)
        using, used = model.using, []

        def once(folder: Path | None, scale: float = 1.0):  # type: ignore[no-untyped-def]
            used.append(folder)
            if len(used) == 6:  # after zero-shot, three experts and joint: the first merge
                raise ValueError("as it were")
            return using(folder, scale)

        model.using = once  # type: ignore[method-assign]
        return model

    with pytest.raises(SystemExit, match="1 of 7 jobs failed"):
        script.main(arguments, World(pretend.tasks, fails))
    assert "| karcher |" in path.read_text()
    assert "| average |" not in path.read_text()
    assert np.isfinite(
        raw_results.read(tmp_path / "r.json")["views"][0]["sections"][0]["rows"][0]["seen"][0]
    )
