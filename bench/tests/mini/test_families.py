"""Results put together, and what does not belong together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench_factories.results import TASKS, merge, on, references, result
from robustmerge.errors import MergeError
from robustmerge_bench.mini.ranking.families import group_results
from robustmerge_bench.mini.runs.results import Result


def test_models_over_seeds() -> None:
    results = [
        *references(seeds=(0, 1)),
        merge("ties", on(60, 40, 30), seed=1, factor=2.0, seconds=3.0),
        merge("ties", on(50, 40, 30), seed=0, seconds=1.0),
        merge("dare", on(50, 40, 30), seed=0),
    ]
    (family,) = group_results(results)
    assert (family.name, family.seeds, family.seen, family.unseen) == (
        "shared",
        (0, 1),
        ("sqa", "rec"),
        ("aok",),
    )
    assert family.experts["rec"].shape == (2, 200)
    assert family.zero_shot["aok"].shape == (1, 200)
    assert family.joint is not None
    (ties,) = family.merges
    assert ties.scores["sqa"].mean(axis=1).tolist() == [50, 60]  # in the order of the seeds
    assert (ties.factors, ties.seconds) == ((1.0, 2.0), 2.0)
    assert family.incomplete == ("dare default input",)


def test_families_scales_and_ranks_are_kept_apart() -> None:
    independent = [replace(r, facts={**r.facts, "family": "independent"}) for r in references()[1:]]
    results = [
        *independent,
        *references(),
        merge("ties", on(60, 40, 30)),
        merge("ties", on(60, 40, 30), "sweep", at_limit=True),
        merge("ties", on(60, 40, 30), rank="full"),
    ]
    shared, other = group_results(results)
    assert (shared.name, other.name) == ("shared", "independent")
    assert [(e.scale, e.rank, e.at_limit) for e in shared.merges] == [
        ("default", "input", False),
        ("sweep", "input", True),
        ("default", "full", False),
    ]
    assert other.merges == ()


def test_experts_on_every_task_win_over_those_on_their_own() -> None:
    whole = [result("expert", on(70, 10, 20), task=t) for t in ("sqa", "rec")]
    (family,) = group_results([*whole, *references()])
    assert family.experts["sqa"].mean() == 70
    assert family.matrix["rec"]["aok"].mean() == 20
    assert not group_results(references())[0].matrix


def test_joint_counts_only_if_it_is_there_for_every_seed() -> None:
    results = [
        r for r in references(seeds=(0, 1)) if (r.facts["kind"], r.facts["seed"]) != ("joint", 1)
    ]
    assert group_results(results)[0].joint is None


def hashed(outcome: Result, **hashes: str) -> Result:
    return replace(
        outcome, facts={**outcome.facts, "hashes": {**outcome.facts["hashes"], **hashes}}
    )


def test_what_does_not_belong_together() -> None:
    good = references()
    expert, merged = good[1], merge("ties", on(60, 40, 30))
    cases = {
        "base: b, other": [*good, hashed(merged, base="other")],
        "world: other, w": [*good, hashed(merged, world="other")],
        "sqa shared 0: new, old": [
            good[0],
            hashed(expert, sqa="old"),
            *good[2:],
            hashed(merged, sqa="new"),
        ],
        "items per task: 100, 200": [*good, merge("ties", on(60, 40, 30), items=100)],
        "merge ties default input": [*good, merged, merge("ties", on(60, 40, 30), validation=5)],
    }
    for words, results in cases.items():
        with pytest.raises(MergeError, match="do not belong together") as caught:
            group_results(results)
        assert words in str(caught.value)
    assert group_results(
        [
            *good,
            hashed(merged, viz="x"),
            hashed(
                replace(merged, facts={**merged.facts, "seed": 0, "contender": "dare"}), viz="x"
            ),
        ]
    )


def test_results_over_some_number_of_items() -> None:
    few = [
        replace(
            r, facts={**r.facts, "items": 100}, scores={t: s[:100] for t, s in r.scores.items()}
        )
        for r in references()
    ]
    (family,) = group_results([*few, *references()], items=100)
    assert family.zero_shot["sqa"].shape == (1, 100)


def test_references_have_to_be_there() -> None:
    with pytest.raises(MergeError, match="no zero-shot result"):
        group_results(references()[1:])
    without = [r for r in references(seeds=(0, 1)) if r.facts["task"] != "rec" or r.facts["seed"]]
    with pytest.raises(MergeError, match="rec of shared-0"):
        group_results(without)


def test_the_order_of_tasks_is_that_of_the_base() -> None:
    (family,) = group_results(references())
    assert tuple(family.zero_shot) == tuple(TASKS)
    assert np.array_equal(family.zero_shot["rec"][0], references()[0].scores["rec"])
