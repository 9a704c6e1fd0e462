"""Polarization of tasks and of layers against their definitions, in a module and a whole model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import robustmerge
from factories.adapters import deltas, trio
from robustmerge.depth import Depth, kind_of
from robustmerge.errors import MergeError
from robustmerge.factors import Factors, Stack
from robustmerge.linalg import concat
from robustmerge.steps import parse
from robustmerge.steps.task_polarization import task_polarization
from robustmerge.testing import random_stack


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.5, 2.0])
def test_tasks_by_the_definition(exponent: float) -> None:
    stack = random_stack(20, 15, (3, 2, 4), weights=(1, 0.5, 2))
    norms = [float(f.dense().norm()) for f in stack.factors]
    polarized = task_polarization(stack, exponent=exponent)
    for f, after, n in zip(stack.factors, polarized.factors, norms, strict=True):
        expected = f.dense() * (n / (sum(norms) / 3)) ** exponent
        torch.testing.assert_close(after.dense(), expected)
        assert torch.equal(after.A, f.A)
    if exponent == -1:
        sizes = [float(f.dense().norm()) for f in polarized.factors]
        assert sizes == pytest.approx([sum(norms) / 3] * 3)


def test_absent_and_zero_updates_do_not_count_in_the_mean() -> None:
    stack = random_stack(20, 15, (3, 2))
    none = Factors(torch.zeros(0, 15).double(), torch.zeros(20, 0).double())
    zero = Factors(torch.zeros(2, 15).double(), torch.zeros(20, 2).double())
    more = task_polarization(Stack.of([*stack.factors, none, zero]))
    for f, other in zip(task_polarization(stack).factors, more.factors, strict=False):
        torch.testing.assert_close(f.dense(), other.dense())
    assert not task_polarization(Stack.of([zero, zero])).factors[0].dense().any()


def test_layers_of_one_kind_differ_by_their_number_only() -> None:
    names = ["language_model.layers.3.q", "language_model.layers.11.q", "vision.layers.3.q", "head"]
    assert [kind_of(name) for name in names] == [
        "language_model.layers.*.q",
        "language_model.layers.*.q",
        "vision.layers.*.q",
        "head",
    ]


@pytest.mark.parametrize("exponent", [-1.0, 2.0])
def test_layers_by_the_definition_on_a_whole_model(tmp_path: Path, exponent: float) -> None:
    folders = trio(tmp_path)
    step = f"layer-polarization:exponent={exponent}"
    for name, calibrate in (("plain", ["svc"]), ("steps", ["svc", step, "lines:alpha=0.5,beta=0"])):
        robustmerge.merge(
            folders,
            tmp_path / name,
            method="task-arithmetic",
            calibrate=calibrate,
            rank="full",
            dtype="float32",
            workers=2,
        )
    before, after = deltas(tmp_path / "plain"), deltas(tmp_path / "steps")
    kinds: dict[str, list[float]] = {}
    for name, delta in before.items():
        kinds.setdefault(kind_of(name), []).append(float(delta.norm()))
    assert any(len(sizes) > 1 for sizes in kinds.values())
    for name, delta in before.items():
        sizes = kinds[kind_of(name)]
        by = (float(delta.norm()) / (sum(sizes) / len(sizes))) ** exponent
        torch.testing.assert_close(after[name], 0.5 * by * delta, rtol=1e-4, atol=1e-5)


def test_the_scale_rule_measures_polarized_layers(tmp_path: Path) -> None:
    folders = trio(tmp_path)
    for name, calibrate in (("plain", []), ("steps", ["layer-polarization"])):
        robustmerge.merge(
            folders,
            tmp_path / name,
            method="task-arithmetic",
            calibrate=calibrate,
            scale="norm-matched",
            rank="full",
            dtype="float32",
        )
    one, two = (
        sum(float(d.norm()) ** 2 for d in deltas(tmp_path / n).values()) for n in ("plain", "steps")
    )
    assert one == pytest.approx(two, rel=1e-5)


def test_one_module_alone_is_refused() -> None:
    stack = random_stack()
    step = parse("layer-polarization", "calibrate")
    with pytest.raises(MergeError, match="whole model") as caught:
        step.calibrate(concat(stack), stack, Depth(0, 1))
    assert "whole adapters" in caught.value.hint
