"""Balance, merge, calibrate, scale, cut: composed in a recipe, from files and on a live model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import robustmerge
from factories.adapters import deltas, trio
from robustmerge import MergeError, methods, steps
from robustmerge.cli.app import run
from robustmerge.depth import Depth, find_depths
from robustmerge.factors import Dense, Factors, Stack, Update
from robustmerge.linalg import concat, core, fit, svd
from robustmerge.testing import random_stack
from robustmerge.testing.cases import change_gauge, perturb

CALIBRATE = [s.name for s in steps.every() if s.stage == "calibrate"]
BALANCE = [s.name for s in steps.every() if s.stage == "balance"]


def stacks(folders: list[str]) -> dict[str, Stack]:
    by_module: dict[str, Stack] = {}
    loaded = [robustmerge.load(folder) for folder in folders]
    for name in loaded[0].modules:
        by_module[name] = Stack.of([opened.factors(name) for opened in loaded], module=name)
    for opened in loaded:
        opened.close()
    return by_module


def test_every_stage_has_its_effect_in_its_order(tmp_path: Path) -> None:
    """norms, then tsv-m, then svc and lines, then the norm of an adapter, then rank 3."""
    folders = trio(tmp_path)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "adapters: [a, b, c]\nbalance: 'norms:exponent=1'\nmethod: tsv-m\n"
        "calibrate: [svc, 'lines:alpha=0.5,beta=0.5']\nscale: norm-matched\nscale_over: module\n"
        "rank: 3\ndtype: float32\n"
    )
    assert run(["merge", str(recipe), "-o", str(tmp_path / "out")]) == 0
    merged = deltas(tmp_path / "out")
    inputs = stacks(folders)
    depth = find_depths(inputs)
    for name, stack in inputs.items():
        balanced = steps.parse("norms:exponent=1", "balance").balance(stack, depth[name])
        update: Any = methods.get("tsv-m")(balanced)
        for text in ("svc", "lines:alpha=0.5,beta=0.5"):
            update = steps.parse(text, "calibrate").calibrate(update, balanced, depth[name])
        update = update.scaled(steps.measure(update, stack).factor("norm-matched"))
        expected = fit(update, 3)[0].dense()
        torch.testing.assert_close(merged[name], expected.double(), rtol=1e-4, atol=1e-4)
    record = json.loads((tmp_path / "out" / "merge.json").read_text())
    assert record["recipe"]["calibrate"] == ["svc", "lines:alpha=0.5,beta=0.5"]
    assert "calibrated by svc" in (tmp_path / "out" / "README.md").read_text()


def test_steps_by_option_and_in_python_are_the_same(tmp_path: Path) -> None:
    folders = trio(tmp_path)
    options = ["--balance", "pico", "--calibrate", "svc", "--calibrate", "lines", "--scale", "mean"]
    first, second = tmp_path / "one", tmp_path / "two"
    assert run(["merge", *folders, "-m", "ties", *options, "-o", str(first)]) == 0
    robustmerge.merge(
        folders, second, method="ties", balance="pico", calibrate=["svc", "lines"], scale="mean"
    )
    weights = "adapter_model.safetensors"
    assert (first / weights).read_bytes() == (second / weights).read_bytes()
    robustmerge.merge(folders, second, method="ties", scale="mean", force=True)
    assert (first / weights).read_bytes() != (second / weights).read_bytes()


def test_stages_show_before_and_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = trio(tmp_path)
    options = ["--balance", "norms", "--calibrate", "svc", "--scale", "geometric-middle"]
    assert run(["merge", *folders, *options, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for word in ("norms", "svc", "geometric-middle over the model"):
        assert word in shown


def test_the_scale_that_a_rule_found_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["merge", *trio(tmp_path), "--scale", "mean"]
    first, second = (["-o", str(tmp_path / name)] for name in ("one", "two"))
    assert run([*options, *first, "-m", "task-arithmetic"]) == 0
    assert "mean over the model, which is 0.333" in capsys.readouterr().out
    assert run([*options, *second, "-m", "tsv-m", "--scale-over", "module"]) == 0
    assert " to 0." in capsys.readouterr().out


def test_a_caution_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = trio(tmp_path)
    options = ["merge", *folders, "-m", "tsv-m", "--dry-run"]
    assert run([*options, "--set", "flavor=paper"]) == 0
    assert "reaches past the adapters' ranks" in " ".join(capsys.readouterr().err.split())
    assert run(options) == 0
    assert "reaches past" not in capsys.readouterr().err


def test_steps_of_another_stage_are_unknown() -> None:
    with pytest.raises(MergeError, match="unknown step of stage balance 'svc'"):
        steps.parse("svc", "balance")
    with pytest.raises(MergeError, match="exponent = '2' is not possible"):
        steps.parse("norms:exponent=2", "balance")


@pytest.mark.parametrize("name", CALIBRATE)
def test_calibration_of_any_update(name: str) -> None:
    """Factors, cores and dense updates are one update; gauge and rounding do not matter."""
    stack = random_stack()
    space, applied = core(stack), steps.parse(name, "calibrate")

    def calibrate(update: Update, stack: Stack) -> torch.Tensor:
        measure = applied.step.measure
        # As if there were another module of the same kind.
        stack = replace(stack, module="layers.1.fc")
        sizes = measure and {"layers.1.fc": measure(update, stack), "layers.2.fc": 70.0}
        return applied.calibrate(update, stack, Depth(1, 4), sizes or None).dense()

    forms: list[Update] = [concat(stack), space.lift(space.M.sum(0)), Dense(concat(stack).dense())]
    results = [calibrate(update, stack) for update in forms]
    other = Stack.of([change_gauge(f, t) for t, f in enumerate(stack.factors)])
    results.append(calibrate(forms[0], other))
    moved = perturb(stack)
    results.append(calibrate(concat(moved), moved))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-6, atol=1e-8)
    zero = Dense(torch.zeros(stack.shape).double())
    assert not calibrate(zero, stack).any()


@pytest.mark.parametrize("name", BALANCE)
def test_balance_changes_sizes_or_directions_but_no_shapes(name: str) -> None:
    stack = random_stack(ranks=(3, 0, 4), weights=(1, 1, 2))
    before = [f.dense() for f in stack.factors]
    balanced = steps.parse(name, "balance").balance(stack, Depth(0, 1))
    assert balanced.ranks == stack.ranks
    assert balanced.weights == stack.weights
    assert all(torch.equal(a, f.dense()) for a, f in zip(before, stack.factors, strict=True))
    assert not torch.allclose(balanced.factors[0].dense(), before[0])
    other = Stack.of([change_gauge(f, t) for t, f in enumerate(stack.factors)], stack.weights)
    again = steps.parse(name, "balance").balance(other, Depth(0, 1))
    for before_turn, after_turn in zip(balanced.factors, again.factors, strict=True):
        torch.testing.assert_close(before_turn.dense(), after_turn.dense(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("step", steps.every(), ids=lambda s: f"{s.stage}-{s.name}")
def test_every_step_has_a_page(step: steps.Step) -> None:
    assert step.doc.count("\n") > 5
    assert "Source:" in step.doc
    assert step.paper
    assert step.checked
    assert all(p.doc for p in step.parameters.values())


def test_pico_the_method_is_pico_the_step_and_a_scale_rule(tmp_path: Path) -> None:
    folders = trio(tmp_path)
    robustmerge.merge(folders, tmp_path / "one", method="pico", rank="full", dtype="float32")
    robustmerge.merge(
        folders,
        tmp_path / "two",
        method="task-arithmetic",
        balance="pico",
        scale="norm-matched",
        scale_over="module",
        rank="full",
        dtype="float32",
    )
    two = deltas(tmp_path / "two")
    for name, delta in deltas(tmp_path / "one").items():
        torch.testing.assert_close(delta, two[name], rtol=1e-4, atol=1e-5)


def test_singular_values_of_a_cut_come_last() -> None:
    """Check that a step calibrates the whole update, before the cut."""
    stack = random_stack()
    update = concat(stack)
    boosted = steps.parse("subspace-boosting", "calibrate").calibrate(update, stack, Depth(None, 1))
    assert isinstance(boosted, Factors)
    S = svd(boosted).S
    assert int((S > 1e-9).sum()) == sum(stack.ranks)
