"""docs/midibench.md: tables of known results, of one world and of two."""

from __future__ import annotations

from pathlib import Path

import pytest

import midibench
from bench_factories.results import merge, on, references
from minibench_parts import condense, raw_results
from minibench_parts.tables import Data
from robustmerge_bench.midi.geometry import FIGURES
from robustmerge_bench.mini.runs.results import Result

ROOT = Path(__file__).parents[3]


def viewed(*merges: Result) -> Data:
    (view,) = condense.condense_views([*references(), *merges], 200, lambda *_: {}, draws=100)
    return view


HERE = viewed(
    merge("ties", on(60, 40, 35)),
    merge("tsv-m", on(70, 50, 20)),
    merge("ace", on(50, 40, 10)),
    merge("ties", on(65, 40, 35), "sweep", "full"),
)
MINI = viewed(
    merge("ties", on(50, 40, 31)),
    merge("tsv-m", on(70, 60, 39)),
    merge("ace", on(70, 58, 25)),
    merge("dare", on(45, 15, 25)),
)


def cells(lines: list[str], name: str) -> list[str]:
    (row,) = [line for line in lines if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def test_a_cell_has_both_averages_and_a_merge_that_was_not_run_a_dash() -> None:
    outcome = midibench.averages(HERE)
    assert outcome[0] == "|  | own scale, input | tuned, full |"
    assert [cell.split(" ±")[0] for cell in cells(outcome, "ties")] == ["50.0", "52.5"]
    assert [cell.split(" / ")[1] for cell in cells(outcome, "ties")] == ["35.0", "35.0"]
    assert cells(outcome, "ace")[1] == "–"
    assert cells(outcome, "own experts")[0].endswith(" / –")


def test_gates_judge_merges_of_the_rank_asked_for() -> None:
    results = [*references(), merge("ties", on(60, 40, 35)), merge("tsv-m", on(70, 50, 20))]
    measured = {}
    for rank in ("input", "full"):
        (view,) = condense.condense_views(results, 200, lambda *_: {}, draws=100, judged=rank)
        (gate,) = [g for g in view["gates"] if g["name"].startswith("best and worst")]
        measured[rank] = gate["measured"]
    assert measured["input"].startswith("default: 10.0, tsv-m 60.0 to ties 50.0")
    assert measured["full"].startswith("default: not run")


def test_tasks_that_an_expert_has_not_learned_are_left_out() -> None:
    assert midibench.learned(HERE) == []  # both gain 40
    (view,) = condense.condense_views(
        [*references(experts=(80, 39)), merge("ties", on(60, 40, 35))],
        200,
        lambda *_: {},
        draws=100,
    )
    lines = midibench.learned(view)
    assert lines[0] == "| sqa | own scale |"
    assert cells(lines, "ties") == ["60.0"]
    assert cells(lines, "zero-shot") == ["40.0"]


def test_worlds_are_compared_over_the_merges_of_both() -> None:
    lines = midibench.worlds([HERE], [MINI])
    assert lines[0] == "Experts: shared; own scale, input rank."
    assert [line for line in lines if "tuned" in line] == []  # one merge is no comparison
    assert cells(lines, "ties") == ["37.5", "50.0", "31.0", "35.0"]
    assert not any(line.startswith("| dare") for line in lines)
    # Kept: tsv-m, ace, ties next to tsv-m, ties, ace; unseen: tsv-m, ties, ace next to ties first.
    assert cells(lines, "rank correlation") == ["", "0.50", "", "0.50"]


def test_the_document_is_that_of_its_results(tmp_path: Path) -> None:
    midibench.main(["--document", str(tmp_path / "made.md")])
    made = (tmp_path / "made.md").read_text(encoding="utf-8")
    assert made == (ROOT / "docs" / "midibench.md").read_text(encoding="utf-8")


def test_results_of_a_trained_world_are_condensed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measure nothing: which sets are measured is what counts."""
    figures = dict.fromkeys(FIGURES, (0.1, 0.5, 0.9))
    measured = []
    monkeypatch.setattr(
        midibench, "measure_geometry", lambda *which: measured.append(which) or figures
    )
    monkeypatch.setattr(condense, "sizes_in", lambda *_: lambda *_: {})
    for family, seed in (("shared", 0), ("shared", 1), ("independent", 0)):
        expert = tmp_path / "root" / "experts" / f"{family}-{seed}" / "sqa"
        expert.mkdir(parents=True)
        (expert / "adapter_config.json").write_text("{}")
    for i, result in enumerate([*references(), merge("ties", on(60, 40, 35), validation=5)]):
        facts = {"validation": 0, **result.facts}
        Result(facts, result.scores, 1.0, {}, {"merge": 1.0}).write(tmp_path / "out" / f"{i}.json")
    (tmp_path / "t.in.md").write_text("{{setting}}\n{{averages}}\n{{geometry}}")
    named = {"results": "results.json", "template": "t.in.md", "document": "made.md", "out": "out"}
    options = [x for name, file in named.items() for x in (f"--{name}", str(tmp_path / file))]
    midibench.main([str(tmp_path / "root"), *options])
    root = tmp_path / "root"
    assert measured == [(root, "shared-0"), (midibench.MINI,)]
    made = (tmp_path / "made.md").read_text()
    assert made.startswith("200 test items a task, 5 validation items a task; robustmerge ")
    assert "| midi, shared | mini, shared |" in " ".join(made.split())
    assert raw_results.read(tmp_path / "results.json")["views"][0]["sections"][0]["order"] == [
        "ties"
    ]
