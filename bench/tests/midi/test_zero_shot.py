"""The gate on zero-shot passes a model that sees, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest

from robustmerge_bench.item import Item
from robustmerge_bench.midi.student import MidiModel
from robustmerge_bench.midi.zero_shot import (
    check_zero_shot,
    is_above,
    score_without_training,
    with_wrong_images,
)

from .test_student import base as base
from .test_tasks import TASKS

COUNT = 25


class Scripted:
    """Has no adapter."""

    def using(self, adapter: Path | None, scale: float = 1.0) -> AbstractContextManager[None]:
        return nullcontext()


class Seeing(Scripted):
    """Answers right about every image of these tasks, and about wrong images as well."""

    def __init__(self, tasks: Sequence[str]) -> None:
        self.known = {
            (name, item.prompt, item.image.tobytes()): item.answer
            for name in tasks
            for item in TASKS[name].items("test", COUNT)
        }

    def answer(self, items: Sequence[Item]) -> list[str]:
        return [self.known.get((i.task, i.prompt, i.image.tobytes()), "") for i in items]


class Blind(Scripted):
    """Has the right answers by heart, whatever it is shown."""

    def answer(self, items: Sequence[Item]) -> list[str]:
        return [item.answer for item in items]


@pytest.mark.parametrize(("seen", "passes"), [(12, True), (9, True), (8, False)])
def test_nine_tasks_are_needed(seen: int, passes: bool) -> None:
    gate = check_zero_shot(Seeing(tuple(TASKS)[:seen]), TASKS, COUNT)
    assert gate.passed == passes
    assert gate.measured.startswith(f"{seen} of 12, {COUNT} items each; above: flg 100.0 (33.3)")
    assert ("not:" in gate.measured) == (seen < 12)


@pytest.mark.parametrize("name", TASKS)
def test_right_answers_that_need_no_image_are_not_above_chance(name: str) -> None:
    task = TASKS[name]
    score = score_without_training(Blind(), task, COUNT)
    assert score.score == pytest.approx(100, abs=1e-3)
    assert score.above == (task.about.chance is not None)
    assert score.chance == pytest.approx(task.about.chance or 100, abs=1e-3)


def test_a_wrong_image_is_that_of_the_next_item() -> None:
    items = TASKS["vqa"].items("test", 4)
    wrong = with_wrong_images(items)
    assert [w.prompt for w in wrong] == [item.prompt for item in items]
    for item, other in zip(wrong, [*items[1:], items[0]], strict=True):
        assert np.array_equal(item.image, other.image)


def test_above_is_beyond_the_error() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 10, 10_000)
    noise -= noise.mean()
    for mean, above in ((0.15, False), (0.18, True), (-1.0, False)):  # the error is 0.1
        assert is_above(noise + mean) == above
    assert not is_above(np.zeros(5))


def test_a_random_model_does_not_pass(base: Path) -> None:
    gate = check_zero_shot(MidiModel.load(base), {n: TASKS[n] for n in ("flg", "row")}, 3)
    assert not gate.passed
    assert "not: flg" in gate.measured
