"""Scale rules against dense norms, in one module and over the model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import robustmerge
from factories.adapters import deltas, trio
from robustmerge import MergeError
from robustmerge.cli.app import run
from robustmerge.engine.merge import merge_recipe
from robustmerge.engine.recipe import Recipe
from robustmerge.factors import Dense, Factors, Stack
from robustmerge.linalg import core
from robustmerge.scale_rules import ScaleRule, scale_rule, scale_rules
from robustmerge.steps import measure
from robustmerge.testing import random_stack

RULES = [rule.name for rule in scale_rules() if not rule.of_inputs]
WEIGHTS = (1.0, -0.5, 2.0)


def defined_norm(
    rule: str, updates: list[torch.Tensor], weights: tuple[float, ...], merged: torch.Tensor
) -> float:
    """Return the norm that a rule's definition demands."""
    total = sum(abs(w) for w in weights)
    pairs = list(zip(weights, updates, strict=True))
    mean = float(sum(w * x for w, x in pairs).norm()) / total  # type: ignore[union-attr]
    matched = sum(abs(w) * float(x.norm()) for w, x in pairs) / total
    middle = math.sqrt(mean * matched)
    shares = [float((merged * x).sum() / (w * x.square().sum())) for w, x in pairs]
    share = sum(shares) / len(shares)
    kept = 0.4 / share * float(merged.norm()) if share > 0 else matched
    return {"mean": mean, "norm-matched": matched, "geometric-middle": middle, "kept": kept}[rule]


@pytest.mark.parametrize("rule", RULES)
def test_one_module(rule: str) -> None:
    stack = random_stack(weights=WEIGHTS)
    space = core(stack)
    merged = [space.lift(space.M.sum(0)), Dense(random_stack(seed=1).factors[0].dense())]
    for update in (*merged, merged[0].factors()):  # type: ignore[union-attr]
        inputs = [f.dense() for f in stack.factors]
        expected = defined_norm(rule, inputs, WEIGHTS, update.dense().double())
        factor = measure(update, stack).factor(rule)
        assert factor * float(update.dense().norm()) == pytest.approx(expected)


def test_orthogonal_adapters_of_one_size() -> None:
    """Compare the rules where the mean is √T smaller than each, the middle halfway in logarithm."""
    eye = torch.eye(8).double()
    parts = [Factors(eye[2 * t : 2 * t + 2], eye[:, 2 * t : 2 * t + 2]) for t in range(4)]
    stack = Stack.of(parts)
    sizes = measure(core(stack).lift(core(stack).M.mean(0)), stack)
    assert [sizes.factor(rule) for rule in RULES] == pytest.approx([1, 2, math.sqrt(2), 1.6])


@pytest.mark.parametrize("rule", RULES)
def test_a_zero_update_stays_zero(rule: str) -> None:
    stack = random_stack()
    assert measure(Dense(torch.zeros(stack.shape)), stack).factor(rule) == 1.0


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_unknown_rule_has_no_factor(value: float) -> None:
    """Refuse a name that is no rule; it must never be taken for one of them."""
    stack = random_stack()
    sizes = measure(Dense(torch.full(stack.shape, value)), stack)
    with pytest.raises(MergeError, match="unknown scale rule 'norm-match'") as caught:
        sizes.factor("norm-match")
    assert caught.value.hint == "did you mean norm-matched?"


def test_a_registered_rule_can_be_used_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry: dict[str, ScaleRule] = {rule.name: rule for rule in scale_rules()}
    monkeypatch.setattr("robustmerge.scale_rules._RULES", registry)
    scale_rule("norm-three", "a norm of three")(lambda sizes: 3.0)
    folders = trio(tmp_path)
    robustmerge.merge(folders, tmp_path / "out", scale="norm-three", rank="full", dtype="float32")
    delta = torch.cat([delta.flatten() for delta in deltas(tmp_path / "out").values()])
    assert float(delta.norm()) == pytest.approx(3, rel=1e-5)


def test_the_help_names_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", "--help"]) == 0
    page = " ".join(capsys.readouterr().out.replace("│", " ").split())
    doc = robustmerge.merge.__doc__ or ""
    for rule in scale_rules():
        assert rule.meaning
        assert rule.name in page
        assert rule.name in doc


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("over", ["model", "module"])
def test_a_merge_has_the_size_of_its_rule(rule: str, over: str, tmp_path: Path) -> None:
    folders = trio(tmp_path)
    out = tmp_path / "out"
    robustmerge.merge(
        folders,
        out,
        method="tsv-m",
        scale=rule,
        scale_over=over,  # type: ignore[arg-type]
        weights=WEIGHTS,
        rank="full",
        dtype="float32",
    )
    inputs, merged = [deltas(f) for f in folders], deltas(out)
    record = json.loads((out / "merge.json").read_text())["modules"]
    if over == "module":
        for name, delta in merged.items():
            expected = defined_norm(rule, [x[name] for x in inputs], WEIGHTS, delta)
            assert float(delta.norm()) == pytest.approx(expected, rel=1e-5)
        assert len({m["scale"] for m in record.values()}) == len(record)
        return
    whole = [torch.cat([x[name].flatten() for name in merged]) for x in inputs]
    all_merged = torch.cat([x.flatten() for x in merged.values()])
    expected = defined_norm(rule, whole, WEIGHTS, all_merged)
    assert float(all_merged.norm()) == pytest.approx(expected, rel=1e-4)
    assert len({m["scale"] for m in record.values()}) == 1


def test_one_module_may_have_its_own_scale(tmp_path: Path) -> None:
    """Merge with a rule for some modules, which measures those alone, and a number for others."""
    folders = trio(tmp_path)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "adapters: [a, b, c]\nmethod: task-arithmetic\nscale: 0.5\nrank: full\n"
        "modules: [{match: '*.mlp.*', scale: mean}]\n"
    )
    merge_recipe(Recipe.load(recipe)[0], tmp_path / "out")
    inputs, merged = [deltas(f) for f in folders], deltas(tmp_path / "out")
    for name, delta in merged.items():
        by = 1 / 3 if ".mlp." in name else 0.5
        torch.testing.assert_close(delta, by * sum(x[name] for x in inputs), rtol=1e-4, atol=1e-5)
