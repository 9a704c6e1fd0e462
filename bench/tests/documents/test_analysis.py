"""docs/analysis.md: figures of merges that are known."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from analysis_parts import (
    charts,
    other_sets,
    paper_claims,
    prediction,
    related_merges,
    scale_rules,
    tables,
)
from analysis_parts.benchmark_scores import BenchmarkScores, MeasuredMerge
from analysis_parts.diagnosed_merges import DiagnosedMerge, MergeCache, MergeId, is_size
from analysis_parts.other_sets import TunedMerge
from factories.adapters import adapter, deltas
from minibench_parts import raw_results
from minibench_parts.document import fill
from robustmerge.diagnosis.pooled import ModuleLocation
from robustmerge.errors import MergeError

RESULTS = Path(__file__).parents[2] / "results" / "analysis" / "results.json"


def diagnosed(coefficient: float, norm: float = 1.0) -> DiagnosedMerge:
    tasks = {
        "kept.coefficient, weighted": [coefficient] * 4,
        "directions.largest.gain, mean": [coefficient] * 4,
        "directions.largest.ratio, mean": [1.0] * 4,
    }
    return DiagnosedMerge({"size": norm}, tasks, 0.0)


def swept_merge(label: str, best: float, seen: float = 70) -> MeasuredMerge:
    tried = {best * 2.0**k: 60.0 - 10 * abs(k) for k in range(-3, 4)}
    averages = {"seen": [seen, seen - 1, seen + 1]}
    return MeasuredMerge(MergeId(label, "full", 4), "sweep", best, {}, averages, tried)


def test_a_factor_changes_sizes_and_nothing_else() -> None:
    before = DiagnosedMerge(
        {"size": 2.0, "noise.cross, mean": 0.3},
        {"kept.coefficient, mean": [1.0, 3.0], "kept.cosine, mean": [0.1, 0.2]},
        0.0,
    )
    after = before.at(0.5).flat()
    assert after["size"] == 1
    assert after["noise.cross, mean"] == 0.3
    assert after["kept.coefficient, mean, task mean"] == 1
    assert after["kept.coefficient, mean, least task"] == 0.5
    assert after["kept.cosine, mean, task mean"] == pytest.approx(0.15)
    assert not is_size("directions.rest.both, mean")
    assert is_size("directions.rest.ratio_matched, weighted")


def test_a_size_that_all_tuned_merges_share_gives_the_factor() -> None:
    merges = [swept_merge(str(c), best=0.5 / c) for c in (0.25, 0.5, 1, 2)]
    made = scale_rules.rules(
        merges, [diagnosed(c) for c in (0.25, 0.5, 1, 2)], [[i] for i in range(4)]
    )
    by = {row["rule"]: row for row in made}
    assert by["mean coefficient"]["mean"] == pytest.approx(0)
    assert by["mean coefficient"]["median"] == pytest.approx(0.5)
    assert by["as published"]["worst"] == pytest.approx(20)  # two doublings off
    assert by["norm-matched"]["mean"] == pytest.approx((10 + 0 + 10 + 20) / 4)


def test_related_merges_do_not_count_in_each_others_factor() -> None:
    own, best = np.ones(4), np.array([1.0, 1, 8, 8])
    assert scale_rules.factors_of_others(own, best, [[0, 1], [2, 3]]).tolist() == [8, 8, 1, 1]


def test_scores_between_factors_lie_on_a_line_over_the_logarithm() -> None:
    tried = {1.0: 10.0, 4.0: 30.0}
    assert scale_rules.interpolate(tried, 2.0) == pytest.approx(20)
    assert scale_rules.interpolate(tried, 16.0) == 30


def test_zones_are_those_of_the_diagnosis() -> None:
    tuned = [swept_merge("a", 0.5), swept_merge("b", 1), swept_merge("c", 4)]
    own = [swept_merge("a", 1, seen=40), swept_merge("b", 1), swept_merge("c", 1, seen=67)]
    outcome = scale_rules.zones(
        tuned, own, [diagnosed(1.0), diagnosed(0.5), diagnosed(0.2)]
    )  # times √4
    rows = {row["zone"]: row for row in outcome}
    assert (rows["too large"]["less"], rows["too large"]["gain"]) == (1, 30)
    assert (rows["neither"]["same"], rows["neither"]["gain of four"]) == (1, 0)
    assert (rows["too small"]["more"], rows["too small"]["gain"]) == (1, 3)


def test_chance_has_no_gap_in_wide_modules() -> None:
    wide = [ModuleLocation(f"m{i}", "language", i, "q_proj", 4096, 4096, 1) for i in range(3)]
    outcome = paper_claims.chance_spectra(wide, 4)
    assert 1 < outcome["head_to_tail"][0] < 1.1
    assert outcome["first_share"][0] == pytest.approx(0.25, abs=0.03)


def test_chance_is_of_the_product_itself() -> None:
    outcome = paper_claims.chance_spectra(
        [ModuleLocation("m", "language", 0, "q_proj", 6, 5, 1)], 3, seed=7
    )
    generator = np.random.default_rng(7)
    A, B = generator.uniform(-1, 1, (5, 3)), generator.normal(size=(6, 3))
    S = np.linalg.svd(B @ A.T, compute_uv=False)[:3]
    assert outcome["head_to_tail"] == pytest.approx([S[0] / S[2]] * 3)


SMALL = {"model.language_model.layers.0.self_attn.q_proj": (12, 10)}


def experts(folder: Path) -> list[Path]:
    return [adapter(folder / n, seed=i, rank=2, modules=SMALL) for i, n in enumerate("ab")]


def test_figures_of_a_sum_are_those_of_the_dense_updates(tmp_path: Path) -> None:
    folders = experts(tmp_path)
    cache, which = MergeCache(folders, tmp_path / "cache"), MergeId("task-arithmetic", "full", 2)
    outcome = cache.diagnosed(which)
    first, two = (next(iter(deltas(folder).values())).flatten().numpy() for folder in folders)
    both = first + two
    norm = np.linalg.norm
    assert outcome.whole["size"] == pytest.approx(
        norm(both) / ((norm(first) + norm(two)) / 2), 1e-3
    )
    wanted = [both @ first / (first @ first), both @ two / (two @ two)]
    assert outcome.tasks["kept.coefficient, weighted"] == pytest.approx(wanted, 1e-3)
    assert outcome.whole["noise.tasks, mean"] == pytest.approx(1, abs=1e-3)
    assert outcome.flat()["kept.coefficient, mean, least task"] == pytest.approx(min(wanted), 1e-3)
    assert "spectra.norm, mean" not in outcome.whole  # size says it
    assert not any("repeated" in name for name in outcome.flat())
    alike = related_merges.cosines([cache.merged(which), folders[0]])
    assert alike[0, 1] == pytest.approx(both @ first / norm(both) / norm(first), abs=1e-3)
    assert alike[1, 1] == pytest.approx(1)


def test_what_was_diagnosed_is_not_diagnosed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders, which = experts(tmp_path), MergeId("task-arithmetic", "full", 2)
    first = MergeCache(folders, tmp_path / "cache").diagnosed(which)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it is there")

    monkeypatch.setattr("robustmerge.diagnose", never)
    assert MergeCache(folders, tmp_path / "cache").diagnosed(which) == first
    with pytest.raises(AssertionError, match="it is there"):
        MergeCache(folders, tmp_path / "cache").diagnosed(MergeId("ties", "full", 2))
    other = [folders[1], folders[0]]
    with pytest.raises(AssertionError, match="it is there"):
        MergeCache(other, tmp_path / "cache").diagnosed(which)


def test_the_document_is_that_of_its_results(tmp_path: Path) -> None:
    outcome = raw_results.read(RESULTS)
    template = RESULTS.parents[3] / "docs" / "analysis.in.md"
    text = importlib.import_module("analysis").fill_template(outcome, template, "analysis")
    assert text == template.with_name("analysis.md").read_text()
    assert [path.stem for path in charts.draw(outcome, tmp_path)] == ["prediction", "size"]


def test_a_figure_is_named_in_words() -> None:
    assert tables.named("directions.rest.left, mean, task mean") == "`left` rest"
    assert tables.named("kept.both, weighted, least task") == "`both` (kept), by energy, least task"
    assert tables.named("size") == "`size`"


def ranks_of(similarities: list[float]) -> dict[str, int]:
    diagnosed = [
        DiagnosedMerge(
            {"size": 2.0}, {n.rpartition(", ")[0]: [s] for n in paper_claims.PLACED}, 0.0
        )
        for s in similarities
    ]
    merges = [
        MeasuredMerge(MergeId(str(i), "full", 1), "default", 1, {}, {})
        for i in range(len(diagnosed))
    ]
    return {n: at["place"] for n, at in paper_claims.places(merges, diagnosed, "1").items()}


def test_a_place_counts_those_above() -> None:
    assert set(ranks_of([0.3, 0.2, 0.1, 0.2]).values()) == {2}
    assert set(ranks_of([0.1, 0.2, 0.1]).values()) == {1}


def test_a_template_with_a_slot_that_nothing_fills_is_an_error() -> None:
    with pytest.raises(MergeError, match=r"no slot 'nonsense'(.|\n)*here\.md"):
        fill("{{nonsense}}", {"made": list}, "here.md")


def row(merge: str, seen: float, tasks: dict[str, float], **more: object) -> dict[str, object]:
    figures = {name: [value, value - 2, value + 2] for name, value in tasks.items()}
    averages = {target: [seen, seen - 1, seen + 1] for target in ("seen", "unseen", "worst")}
    return {"merge": merge, "tasks": figures, "factors": [0.5], **averages, **more}


def results() -> dict[str, object]:
    """Two tasks: zero-shot 20, experts 80; a merge of both, and one of the first alone."""
    section = {
        "scale": "sweep",
        "rank": "input",
        "rows": [
            row("ties", 50, {"a": 50, "b": 35}, tried={"0.5": 60, "1": 50}),
            row("regmean", 90, {"a": 90, "b": 90}),
        ],
    }
    view = {
        "family": "shared",
        "seeds": [0],
        "seen": ["a", "b"],
        "zero_shot": {"tasks": {"a": [20], "b": [20]}},
        "experts": {"tasks": {"a": [80], "b": [80]}},
        "sections": [section],
    }
    alone = row("ties", 74, {"a": 74}, scale="sweep", x=1)
    variant = row("ties:density=0.3", 44, {"a": 44, "b": 44}, scale="sweep", x=0.3)
    study = {"family": "shared", "seeds": [0]}
    return {
        "with_data": ["regmean"],
        "views": [view],
        "studies": [
            {**study, "study": "number", "points": [alone, {**alone, "scale": "default"}]},
            {**study, "study": "density", "points": [variant]},
            {**study, "study": "density", "points": [row("x", 0, {})], "family": "independent"},
        ],
    }


def test_what_was_measured_is_read_from_the_raw_results() -> None:
    benchmark = BenchmarkScores(results())
    every = benchmark.at_input_rank("sweep")
    assert [each.which for each in every] == [
        MergeId("ties", "input", 2),
        MergeId("ties:density=0.3", "input", 2),
    ]
    assert every[0].tried == {0.5: 60, 1: 50}
    assert every[0].error("seen") == pytest.approx(1 / 1.96, rel=1e-3)
    assert benchmark.kept(every[0]).tolist() == [0.5, 0.25]
    (alone,) = benchmark.subsets("sweep")
    assert alone.which == MergeId("ties", "input", 1)
    assert benchmark.kept(alone).tolist() == [0.9]
    assert benchmark.table("default", "input") == []


def test_subsets_are_compared_by_what_they_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "KNOWN_BEFORE", ("kept.cosine, mean, task mean",))
    monkeypatch.setattr(prediction, "OF_THE_PAPER", ())
    benchmark = BenchmarkScores(results())
    some, whole = benchmark.subsets("sweep"), benchmark.at_input_rank("sweep")
    merges = [*some, *whole]
    cosines = {"kept.cosine, mean": [0.9]}, {"kept.cosine, mean": [0.1, 0.3]}
    diagnosed = [
        DiagnosedMerge({"size": 1.0}, tasks, 0.0)
        for tasks in (*cosines, {"kept.cosine, mean": [0.3]})
    ]
    outcome = prediction.over_subsets(merges, diagnosed, benchmark)
    assert outcome is not None
    (only,) = outcome["rows"]
    assert (outcome["merges"], outcome["methods"], outcome["numbers"]) == (3, 2, 2)
    assert only["rho"] == pytest.approx(1)  # kept 0.9, 0.375 and 0.4
    assert only["within methods"] == pytest.approx(0.5)  # of one, the other does not vary
    assert prediction.over_subsets(whole, diagnosed[1:], benchmark) is None


def test_other_sets_of_the_same_results(tmp_path: Path) -> None:
    view = results()["views"][0]
    rows = [{"merge": "ties", "factors": [4.0, 2.0]}]
    sections = [
        {"scale": "sweep", "rank": "full", "rows": rows},
        {"scale": "default", "rank": "full", "rows": [{"merge": "dare", "factors": [1.0, 1.0]}]},
    ]
    over_seeds = {**view, "seeds": [0, 1], "sections": sections}
    elsewhere_too = {**over_seeds, "family": "independent", "seeds": [0, 2]}
    outcome = {"views": [over_seeds, view, elsewhere_too], "studies": []}
    ties = MergeId("ties", "full", 2)
    assert list(other_sets.tuned_merges(outcome, "shared-0")) == [
        TunedMerge("shared-1", ties, 2.0),
        TunedMerge("independent-0", ties, 4.0),
        TunedMerge("independent-2", ties, 2.0),
    ]
    (tmp_path / "shared-1").mkdir()
    with pytest.raises(MergeError, match="independent-2 is not there"):
        other_sets.merge_caches(["shared-1", "independent-2"], ["a"], tmp_path, tmp_path)


def test_sizes_of_merges_of_other_sets() -> None:
    class Held:
        def __init__(self, coefficient: float) -> None:
            self.coefficient = coefficient

        def diagnosed(self, which: MergeId) -> DiagnosedMerge:
            return DiagnosedMerge({}, {"kept.coefficient, weighted": [self.coefficient] * 4}, 0.0)

    which = MergeId("ties", "full", 4)  # of four experts: 1 is too large, 0.2 too small
    merge_caches = {"loud": Held(1.0), "fair": Held(0.5), "faint": Held(0.2)}
    merges = [
        TunedMerge("loud", which, 0.5),
        TunedMerge("loud", which, 1.0),
        TunedMerge("loud", which, 0.25),
        TunedMerge("faint", which, 2.0),
    ]
    small, large = other_sets.zones(merges, merge_caches)  # type: ignore[arg-type]
    assert (small["zone"], small["merges"], small["more"], small["usual"]) == ("too small", 1, 1, 1)
    assert [large[k] for k in ("zone", "merges", "less", "same", "more", "usual")] == [
        "too large", 3, 2, 1, 0, 2
    ]  # fmt: skip


def test_results_without_the_set_alone_are_refused() -> None:
    outcome = results()
    with pytest.raises(MergeError, match="no table of shared, seed 1 alone"):
        BenchmarkScores(outcome, seed=1)
