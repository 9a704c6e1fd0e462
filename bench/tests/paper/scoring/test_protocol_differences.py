"""What is said where the two protocols differ."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from robustmerge_bench.paper.score import Score
from robustmerge_bench.paper.scoring.protocol_differences import _WHY, explain_difference
from robustmerge_bench.paper.scoring.rules import RULES
from robustmerge_bench.paper.tasks import TASKS
from robustmerge_bench.paper.tasks._task import Kind


def score(protocol: Any, rows: Any, ids: Any = None, figure: str = "mean") -> Score:
    table = np.array(rows, float)
    return Score("rec", protocol, figure, tuple(ids or range(len(table))), table)


def test_every_kind_of_task_has_its_rules() -> None:
    for rules in RULES.values():
        assert set(rules) == set(_WHY) == set(get_args(Kind))


def test_nothing_is_said_of_little() -> None:
    rows = [[100.0]] * 200
    assert (
        explain_difference(
            TASKS["rec"], score("official", rows), score("fixed", [[0.0], *rows[1:]])
        )
        == ""
    )
    points = [[1400.0, 1.0]]
    a, b = (
        score("official", points, None, "points"),
        score("fixed", [[1381.0, 1.0]], None, "points"),
    )
    assert explain_difference(TASKS["mme"], a, b) == ""
    c = score("fixed", [[1379.0, 1.0]], None, "points")
    assert explain_difference(TASKS["mme"], a, c).startswith(
        "official gives 21.00 more than fixed: official looks"
    )


@pytest.mark.parametrize("task", ["rec", "imagenet", "scienceqa", "vqav2"])
def test_samples_are_named_whatever_their_order(task: str) -> None:
    official = score("official", [[100.0], [0.0], [100.0], [100.0]], ["1", "2", "3", "4"])
    fixed = score("fixed", [[0.0], [0.0], [50.0]], [3, 1, 2])
    told = explain_difference(TASKS[task], official, fixed)
    assert told.startswith("official gives 58.33 more than fixed: official ")
    assert "official gives more for 2, such as '1'" in told
    assert told.endswith("fixed gives more for 1, such as '2'")
