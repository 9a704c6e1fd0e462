"""The explanation of a difference between the two protocols."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from robustmerge_bench.paper.score import Score
from robustmerge_bench.paper.scoring.protocol_differences import explain_difference
from robustmerge_bench.paper.scoring.rules import RULES
from robustmerge_bench.paper.tasks import TASKS


def score(protocol: Any, rows: Any, ids: Any = None, figure: str = "mean") -> Score:
    table = np.array(rows, float)
    return Score("rec", protocol, figure, tuple(ids or range(len(table))), table)


def test_every_kind_of_task_has_its_rules() -> None:
    assert set(RULES) == {task.kind for task in TASKS.values()}
    assert {kind for kind, rule in RULES.items() if not rule.difference} == {"label"}


def test_a_small_difference_is_not_explained() -> None:
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
    sentence = explain_difference(TASKS[task], official, fixed)
    assert sentence.startswith("official gives 58.33 more than fixed: official ")
    assert "official gives more for 2, such as '1'" in sentence
    assert sentence.endswith("fixed gives more for 1, such as '2'")
