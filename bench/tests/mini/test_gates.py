"""Every gate on made-up results: open, closed, and at its edge."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench_factories.results import merge, on, references
from robustmerge import methods
from robustmerge_bench.mini.ranking.families import group_results
from robustmerge_bench.mini.ranking.gates import SENSIBLE, Gate, check_gates
from robustmerge_bench.mini.ranking.summary import summarize_family
from robustmerge_bench.mini.runs.results import Result

SIZES = {"sqa": 0.02, "rec": 0.03}
MERGES = (
    merge("ties", on(70, 50, 45)),
    merge("tsv-m", on(55, 40, 25)),
    merge("task-arithmetic", on(60, 45, 35), "sweep", factor=0.5),
    merge("ties", on(62, 44, 36), "sweep"),
)
GAINS = "each expert above zero-shot"
SHARE = "zero-shot beside the experts"
FLOOR = "zero-shot on every task"
SIZE = "relative size of the updates"
ARITHMETIC = "task arithmetic at its best scale"
SPREAD = "best and worst sensible method"
JOINT = "joint training"
UNSEEN = "unseen average separates methods"


def checked(
    name: str,
    outcome: Sequence[Result] | None = None,
    merges: Sequence[Result] = MERGES,
    sizes: dict[str, float] | None = None,
    rank: str = "input",
) -> Gate:
    (family,) = group_results([*(references() if outcome is None else outcome), *merges])
    gates = check_gates(summarize_family(family), SIZES if sizes is None else sizes, rank=rank)
    (gate,) = (gate for gate in gates if gate.name == name)
    return gate


def test_all_are_open_for_a_good_benchmark() -> None:
    (family,) = group_results([*references(), *MERGES])
    outcome = check_gates(summarize_family(family), SIZES, rank="input")
    assert [gate.name for gate in outcome if not gate.passed] == []
    names = [GAINS, SHARE, FLOOR, SIZE, ARITHMETIC, SPREAD, JOINT, UNSEEN]
    assert [gate.name for gate in outcome] == names


@pytest.mark.parametrize(("rec", "passed"), [(40, True), (39.5, False), (60, True)])
def test_an_expert_is_twenty_points_above_zero_shot(rec: float, passed: bool) -> None:
    gate = checked(GAINS, references(experts=(80, rec)))
    assert gate.passed is passed
    assert f"least {min(rec - 20, 40):+.1f}" in gate.measured


def test_every_seed_of_every_expert_counts() -> None:
    weak = references(seeds=(1,), experts=(80, 39))[1:]
    gate = checked(GAINS, [*references(), *weak], ())
    assert not gate.passed
    assert "too little: rec of seed 1" in gate.measured


@pytest.mark.parametrize(
    ("zero_shot", "passed"),
    [((39, 20, 30), True), ((28, 28, 30), True), ((27.5, 28, 30), False), ((56, 50, 30), False)],
)
def test_zero_shot_beside_the_experts(zero_shot: Sequence[float], passed: bool) -> None:
    assert checked(SHARE, references(zero_shot)).passed is passed  # experts: 70 on average


def test_zero_shot_at_the_upper_edge() -> None:
    assert checked(SHARE, references((55, 50, 30))).passed  # 52.5 of 70
    assert checked(SHARE, references((55, 50, 30))).measured == "0.75 (52.5 of 70.0)"


@pytest.mark.parametrize("zero_shot", [(40, 0, 30), (40, 20, 0)])
def test_no_task_is_at_zero_not_even_an_unseen_one(zero_shot: Sequence[float]) -> None:
    gate = checked(FLOOR, references(zero_shot))
    assert not gate.passed
    assert gate.measured == f"at 0: {'rec' if zero_shot[1] == 0 else 'aok'}"
    assert checked(FLOOR, references((40, 0.5, 30))).passed


@pytest.mark.parametrize(
    ("sizes", "passed"),
    [
        ({"a": 0.01, "b": 0.05}, True),
        ({"a": 0.0099, "b": 0.02}, False),
        ({"a": 0.02, "b": 0.051}, False),
        ({}, False),
    ],
)
def test_updates_are_one_to_five_percent(sizes: dict[str, float], passed: bool) -> None:
    assert checked(SIZE, sizes=sizes).passed is passed


def test_sizes_outside_are_named() -> None:
    gate = checked(SIZE, sizes={"sqa of shared-0": 0.02, "rec of shared-0": 0.1})
    assert gate.measured == "2.00% to 10.00%; outside: rec of shared-0"


@pytest.mark.parametrize(
    # Zero-shot 30, experts 70: half of the gain is kept at 50.
    ("sqa", "rec", "passed"),
    [(60, 40, True), (60, 39.5, False)],
)
def test_task_arithmetic_keeps_half_of_the_gain(sqa: float, rec: float, passed: bool) -> None:
    gate = checked(ARITHMETIC, merges=[merge("task-arithmetic", on(sqa, rec, 30), "sweep")])
    assert gate.passed is passed


def test_task_arithmetic_at_its_best_means_swept_at_any_rank() -> None:
    bad, good = on(50, 30, 30), on(70, 50, 30)
    unswept = checked(ARITHMETIC, merges=[merge("task-arithmetic", good)])
    assert not unswept.passed
    assert "--scale sweep" in unswept.measured
    others = checked(ARITHMETIC, merges=[merge("ties", good, "sweep")])
    assert not others.passed
    two = [
        merge("task-arithmetic", bad, "sweep"),
        merge("task-arithmetic", good, "sweep", "full", factor=0.25),
    ]
    gate = checked(ARITHMETIC, merges=two)
    assert gate.passed
    assert gate.measured == "75%, rank full, factor 0.25 to 0.25"


def test_sensible_methods_differ_by_ten_points_by_default_or_tuned() -> None:
    wide = [merge("ties", on(60, 50, 30)), merge("tsv-m", on(50, 40, 30))]
    close = [
        merge("ties", on(60, 50, 30), "sweep"),
        merge("tsv-m", on(59, 50, 30), "sweep"),
    ]
    gate = checked(SPREAD, merges=[*wide, *close])
    assert gate.passed
    assert gate.measured == (
        "default: 10.0, ties 55.0 to tsv-m 45.0; tuned: 0.5, ties 55.0 to tsv-m 54.5"
    )
    assert not checked(SPREAD, merges=close).passed
    tuned = [merge("ties", on(60, 50, 30), "sweep"), merge("tsv-m", on(50, 40, 30), "sweep")]
    assert checked(SPREAD, merges=tuned).passed
    assert not checked(SPREAD, merges=[]).passed


def test_what_is_not_sensible_does_not_make_a_spread() -> None:
    silly = [
        merge("ties", on(60, 50, 30)),
        merge("ties:density=0.001", on(40, 20, 30)),
        merge("average", on(40, 20, 30)),
        merge("tsv-m", on(10, 10, 30), rank="full"),
    ]
    assert not checked(SPREAD, merges=silly).passed
    assert {name: methods.get(name).needs for name in SENSIBLE} == dict.fromkeys(SENSIBLE, ())


def test_the_rank_asked_for_is_compared() -> None:
    merges = [merge(n, on(s, s, 30), rank="full") for n, s in (("ties", 60), ("dare", 40))]
    assert not checked(SPREAD, merges=merges).passed
    assert checked(SPREAD, merges=merges, rank="full").passed


@pytest.mark.parametrize(("sqa", "passed"), [(78, True), (78.5, False)])
def test_joint_training_is_above_every_merge(sqa: float, passed: bool) -> None:
    gate = checked(JOINT, merges=[merge("average", on(sqa, 60, 30), "geometric", "full")])
    assert gate.passed is passed
    assert "average, scale geometric, rank full" in gate.measured


def test_without_joint_training_or_merges_nothing_is_shown() -> None:
    assert checked(JOINT, references(joint=None)).measured == "no joint adapter examined"
    assert not checked(JOINT, references(joint=None)).passed
    assert not checked(JOINT, merges=[]).passed


def test_the_unseen_average_separates_methods() -> None:
    apart = [merge("ties", on(50, 50, 25)), merge("tsv-m", on(50, 50, 45))]
    gate = checked(UNSEEN, merges=apart)
    assert gate.passed
    assert "tsv-m over ties by 20.0 [" in gate.measured
    assert "1 of 1 pairs apart; tuned: not run" in gate.measured
    same = [merge("ties", on(50, 10, 30)), merge("tsv-m", on(50, 50, 30))]
    assert not checked(UNSEEN, merges=same).passed
    assert not checked(UNSEEN, merges=[]).passed
    assert not checked(UNSEEN, merges=apart[:1]).passed


def test_a_difference_within_chance_does_not_separate() -> None:
    """Two items of 200: found in nearly no, or in many draws, by whether others agree."""
    close = [merge("ties", on(50, 50, 30)), merge("tsv-m", on(50, 50, 31))]
    assert not checked(UNSEEN, merges=close).passed
