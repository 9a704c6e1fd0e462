"""Findings: their tables, and that the sentences above them hold for the committed results."""

from __future__ import annotations

import importlib
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from bench_factories.results import merge, on, references
from minibench_parts import condense, findings, raw_results, tables
from minibench_parts.document import document

Data = dict[str, Any]
RESULTS = Path(__file__).parents[2] / "results"


def no_sizes(*_: object) -> dict[str, float]:
    return {"sqa of shared-0": 0.02}


def condensed_views(*merges: Any) -> list[Data]:
    results = [*references(), *merges]
    return condense.condense_views(results, 200, no_sizes, draws=100)


def test_a_table_has_the_merges_and_columns_that_were_run() -> None:
    views = condensed_views(
        merge("robustmerge", on(60, 40, 35), "sweep"),
        merge("ties", on(50, 20, 30), "sweep"),
        merge("dare", on(60, 40, 35), "sweep"),
    )
    lines = findings.finding("rivals", views)
    assert lines[0] == "|  | seen, tuned | kept % | than RobustMerge |"
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| `robustmerge`",
        "| `ties`",
        "| `dare`",
    ]
    assert [line.split(" | ")[-1].strip(" |") for line in lines[2:]] == ["", "below", "level"]
    assert findings.finding("frozen", views) == ["Not run."]
    assert findings.untuned(views) == ["Not run."]
    assert findings.criteria({}) == ["Not run."]
    assert findings.regime(views)[3].startswith("| best merge (`robustmerge`) | 50.0 |")


def test_the_best_is_bold_and_what_is_as_good_in_italics() -> None:
    views = condensed_views(
        merge("ace", on(60, 40, 35), "sweep", "full"),
        merge("tsv-m", on(60, 39.5, 35), "sweep", "full"),
        merge("ties", on(30, 20, 30), "sweep", "full"),
    )
    later = {line.split(" | ")[0][2:]: line for line in findings.finding("later", views)}
    assert "| **50.0** |" in later["`ace`"]
    assert "| *49.8* |" in later["`tsv-m`"]
    frozen = {line.split(" | ")[0][2:]: line for line in findings.finding("frozen", views)}
    assert "| 25.0 |" in frozen["`ties`"]


# --- The committed results ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results() -> Data:
    return raw_results.read(RESULTS / "minibench" / "results.json")


def rows(view: Data, scale: str, rank: str) -> dict[str, Data]:
    outcome = tables.section(view, scale, rank)
    assert outcome
    return {row["merge"]: row for row in outcome["rows"]}


def sign(view: Data, scale: str, rank: str, first: str, second: str) -> str:
    ranking = tables.section(view, scale, rank)
    assert ranking
    signs: str = ranking["beats"][first]
    return signs[ranking["order"].index(second)]


def test_robustmerge_and_its_rivals(results: Data) -> None:
    named = findings.named_views(results["views"])
    view = named["one"]
    assert all(gate["passed"] for gate in view["gates"])
    for scale in ("sweep", "default"):
        for rival in findings.RIVALS[1:]:
            assert sign(view, scale, "input", "robustmerge", rival) == "+"
    order = rows(view, "sweep", "input")
    better = [m for m in order if sign(view, "sweep", "input", m, "robustmerge") == "+"]
    assert better == ["optmerge", "aswudi"]
    full = [m for m in findings.LATER if m in rows(view, "sweep", "full")]
    above = [m for m in full if sign(view, "sweep", "full", m, "robustmerge") == "+"]
    assert len(above) > len(full) / 2
    assert next(iter(rows(view, "default", "input"))) == "tsv-m"
    for family in ("shared", "independent"):
        assert sign(named[family], "sweep", "input", "robustmerge", "task-arithmetic") == "."
        top = list(rows(named[family], "sweep", "full"))[:6]
        assert set(top) == set(findings.OVER_SEEDS[:6])


def test_scales_data_and_frozen_projectors(results: Data) -> None:
    named = findings.named_views(results["views"])
    view = named["one"]
    orders = {
        tuple(m for m in rows(named[name], "sweep", "full") if m in findings.FROZEN)
        for name in ("one", "shared-frozen", "independent", "independent-frozen")
    }
    assert orders == {findings.FROZEN}
    assert sign(view, "sweep", "full", "regmean-rows", "ace") == "."
    assert next(iter(rows(view, "sweep", "full"))) == "regmean-rows"
    by_scale = {scale: rows(view, scale, "full") for scale in tables.SCALES}
    for merge_name, row in by_scale["norm-matched"].items():
        assert by_scale["geometric"][merge_name]["seen"][0] < row["seen"][0]
    losses = {
        name: by_scale["sweep"][name]["seen"][0] - by_scale["norm-matched"][name]["seen"][0]
        for name in findings.SCALED
    }
    assert sum(loss < 5 for loss in losses.values()) > len(losses) / 2
    assert min(losses["robustmerge"], losses["ties"]) > 10


def test_unseen_and_lost_tasks(results: Data) -> None:
    view = findings.named_views(results["views"])["one"]
    tuned, joint = rows(view, "sweep", "full"), view["joint"]["unseen"][0]
    assert min(tuned[name]["unseen"][0] for name in findings.UNSEEN[:4]) > joint
    assert max(tuned[name]["unseen"][0] for name in ("robustmerge", "ties")) < joint
    ocr = {name: row["tasks"]["ocr"][0] for name, row in tuned.items()}
    assert median(ocr.values()) < view["zero_shot"]["tasks"]["ocr"][0] + 5
    assert [name for name, score in ocr.items() if score > 60] == ["ace", "optmerge"]


def test_the_paper_figures(results: Data) -> None:
    studies = {study["study"]: study["points"] for study in results["studies"]}
    tuned = {
        name: {(p["row"], p["x"]): p for p in points if p["scale"] == "sweep"}
        for name, points in studies.items()
    }
    density = {x: p["seen"][0] for (row, x), p in tuned["density"].items() if row == "robustmerge"}
    assert max(density, key=density.__getitem__) == 0.2
    kept = {x: {} for _, x in tuned["number"]}  # type: dict[float, dict[str, float]]
    for (row, x), point in tuned["number"].items():
        kept[x][row] = point["kept"][0]
    positions = {x: sorted(of, key=of.__getitem__).index("robustmerge") for x, of in kept.items()}
    assert positions == {2: 1, 3: 0, 4: 0, 5: 0, 6: 1, 7: 3, 8: 3}


def test_the_scale_and_the_weights() -> None:
    results = raw_results.read(RESULTS / "analysis" / "results.json")
    for zones in (results["zones"], results["zones at input rank"], results["elsewhere"]):
        by_name = {row["zone"]: row for row in zones}
        assert by_name["too small"]["more"] == by_name["too small"]["merges"]
        assert by_name["too large"]["less"] >= by_name["too large"]["merges"] - 1
    strongest = {row["figure"]: row for row in results["full"]["sweep"]["seen"]["rows"]}
    assert strongest["directions.largest.answer, mean, task mean"]["p"] < 0.05
    assert min(row["p"] for row in results["tasks"]["rows"]) > 0.05


def test_the_documents_are_what_templates_and_results_give(results: Data) -> None:
    docs = RESULTS.parents[1] / "docs"
    template = (docs / "minibench.in.md").read_text(encoding="utf-8")
    text = document(template, results, docs / "minibench")
    assert text == (docs / "minibench.md").read_text(encoding="utf-8")
    script = importlib.import_module("analysis")
    analysis = raw_results.read(RESULTS / "analysis" / "results.json")
    text = script.fill_template(analysis, docs / "analysis.in.md", "analysis")
    assert text == (docs / "analysis.md").read_text(encoding="utf-8")
