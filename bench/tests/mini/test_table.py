"""Tables: what is in them, and how wide they are."""

from __future__ import annotations

import json

import pytest

from bench_factories import results as made_up
from bench_factories.results import merge, on, references, result
from robustmerge_bench.mini.ranking.families import group_results
from robustmerge_bench.mini.ranking.summary import FamilySummary, summarize_family
from robustmerge_bench.mini.ranking.table import as_data, as_markdown

LONG = "norms:exponent=0.5,cap=3.0+ties:density=0.3,space=delta+svc"


def summarized(*merges, seeds=(0,)) -> FamilySummary:  # type: ignore[no-untyped-def]
    (family,) = group_results([*references(seeds=seeds), *merges])
    return summarize_family(family, draws=200)


def cells(text: str, label: str) -> list[list[str]]:
    """Every table row that begins with this label."""
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()]
    return [row[1:] for row in rows if row[0] == label]


def test_a_merge_has_a_row_of_averages_and_one_of_tasks() -> None:
    text = as_markdown(
        [summarized(merge("ties", on(60, 40, 35), factor=1.0), merge("dare", on(50, 30, 25)))]
    )
    averages, tasks = cells(text, "ties")
    assert averages[0].startswith("50.0 ±")
    assert averages[1] == "40.0 rec"
    assert averages[2].startswith("35.0 ±")
    assert averages[3].startswith("50 ±")  # (50 - 30) / (70 - 30)
    assert averages[4] == "71"  # (60 / 80 + 40 / 60) / 2
    assert averages[5:] == ["1", "1/0", "1.5"]
    assert tasks == ["60.0", "40.0", "35.0"]
    assert cells(text, "dare")[0][6] == "0/1"
    experts, own = cells(text, "experts")
    assert (experts[0][:4], experts[2]) == ("70.0", "–")
    assert own == ["80.0", "60.0", "–"]
    assert cells(text, "joint")[1] == ["78.0", "60.0", "40.0"]
    assert text.index("| ties") < text.index("| dare")  # the best first


def test_protocols_and_ranks_have_tables_of_their_own() -> None:
    merges = [
        merge("ties", on(60, 40, 35), "sweep", factor=2.0, at_limit=True),
        merge("ties", on(50, 40, 35), rank="full"),
        merge("ties", on(55, 40, 35)),
    ]
    text = as_markdown([summarized(*merges)])
    heads = [line for line in text.splitlines() if line.startswith("### ")]
    assert heads == [
        "### Scale default, rank input",
        "### Scale default, rank full",
        "### Scale sweep, rank input, the factor tuned on validation items",
    ]
    assert [row[0] for row in cells(text, "ties")[1::2]] == ["55.0", "50.0", "60.0"]
    assert cells(text, "ties")[4][5] == "2*"
    assert "last factor it may try" in text


def test_tables_of_twelve_tasks_fit_120_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"t{i:02d}" for i in range(12)]
    monkeypatch.setattr(made_up, "TASKS", {name: i < 8 for i, name in enumerate(names)})
    full = dict.fromkeys(names, 100.0)
    results = [
        result("zero-shot", dict.fromkeys(names, 10.0)),
        *(result("expert", full, task=name, seed=s) for name in names[:8] for s in (0, 1)),
        *(
            merge(LONG, dict.fromkeys(names, 98.0 + s), "sweep", seed=s, factor=f, seconds=123.4)
            for s, f in ((0, 0.0221), (1, 0.354))
        ),
    ]
    (family,) = group_results(results)
    text = as_markdown([summarize_family(family, draws=50)])
    assert max(map(len, text.splitlines())) <= 120
    assert "### Every expert on every task" in text
    assert "norms:exponent=0.5,cap=3.0+…" in text


def test_a_share_that_means_nothing_is_a_dash_and_null() -> None:
    (family,) = group_results([*references((90, 90, 30)), merge("ties", on(50, 50, 50))])
    outcome = summarize_family(family, draws=50)
    assert cells(as_markdown([outcome]), "ties")[0][3] == "–"
    data = as_data([outcome])
    assert data["shared"]["sections"][0]["merges"][0]["kept"]["value"] is None
    json.dumps(data, allow_nan=False)


def test_what_is_not_done_for_every_seed_is_said() -> None:
    text = as_markdown([summarized(merge("ties", on(60, 40, 35), seed=1), seeds=(0, 1))])
    assert "Not yet done for every seed: ties default input." in text


def test_who_may_be_as_good_as_the_best_is_named() -> None:
    merges = [
        merge("ties", on(60, 40, 35)),
        merge("dare", on(60, 39.5, 35)),
        merge("tsv-m", on(30, 30, 25)),
    ]
    assert "Not significantly different from ties: dare.\n" in as_markdown([summarized(*merges)])
    assert "Not significantly different from ties: none.\n" in as_markdown(
        [summarized(*merges[::2])]
    )
    assert "Not significantly" not in as_markdown([summarized(merges[0])])


def test_data_has_every_pair_and_every_seed() -> None:
    merges = [
        merge("ties", on(60, 40, 35)),
        merge("ties", on(62, 40, 35), seed=1),
        merge("dare", on(30, 30, 25)),
        merge("dare", on(30, 30, 25), seed=1),
    ]
    data = json.loads(json.dumps(as_data([summarized(*merges, seeds=(0, 1))])))["shared"]
    (section,) = data["sections"]
    (pair,) = section["pairs"]
    assert (pair["first"], pair["second"], pair["winner"]) == ("ties", "dare", "ties")
    assert pair["difference"]["value"] == 20.5
    ties = section["merges"][0]
    assert [seed["sqa"] for seed in ties["seeds"]] == [60, 62]
    assert (ties["won"], ties["lost"]) == (1, 0)
    assert data["zero_shot"]["tasks"]["aok"]["value"] == 30
