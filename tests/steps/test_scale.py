"""Scale rules against dense norms, in one module and over the model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import robustmerge
from factories.adapters import deltas, trio
from robustmerge.factors import Dense, Factors, Stack
from robustmerge.linalg import core
from robustmerge.steps import RULES, Sizes
from robustmerge.testing import random_stack

WEIGHTS = (1.0, -0.5, 2.0)


def wanted(rule: str, updates: list[torch.Tensor], weights: tuple[float, ...]) -> float:
    """What the norm should be, by the definition."""
    total = sum(abs(w) for w in weights)
    pairs = list(zip(weights, updates, strict=True))
    mean = float(sum(w * x for w, x in pairs).norm()) / total  # type: ignore[union-attr]
    matched = sum(abs(w) * float(x.norm()) for w, x in pairs) / total
    return {"mean": mean, "norm-matched": matched}.get(rule, math.sqrt(mean * matched))


@pytest.mark.parametrize("rule", RULES)
def test_one_module(rule: str) -> None:
    stack = random_stack(weights=WEIGHTS)
    space = core(stack)
    merged = [space.lift(space.M.sum(0)), Dense(random_stack(seed=1).factors[0].dense())]
    expected = wanted(rule, [f.dense() for f in stack.factors], WEIGHTS)
    for update in (*merged, merged[0].factors()):  # type: ignore[union-attr]
        found = Sizes.of(update, stack).factor(rule)
        assert found * float(update.dense().norm()) == pytest.approx(expected)


def test_orthogonal_adapters_of_one_size() -> None:
    """The mean is √T smaller than each, the middle is halfway in the logarithm."""
    eye = torch.eye(8).double()
    parts = [Factors(eye[2 * t : 2 * t + 2], eye[:, 2 * t : 2 * t + 2]) for t in range(4)]
    stack = Stack.of(parts)
    size = Sizes.of(core(stack).lift(core(stack).M.mean(0)), stack)
    assert [size.factor(rule) for rule in RULES] == pytest.approx([1, 2, math.sqrt(2)])


def test_nothing_stays_nothing() -> None:
    stack = random_stack()
    assert Sizes.of(Dense(torch.zeros(stack.shape)), stack).factor("mean") == 1.0


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("over", ["model", "module"])
def test_a_merge_has_the_size_asked_for(rule: str, over: str, tmp_path: Path) -> None:
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
            expected = wanted(rule, [x[name] for x in inputs], WEIGHTS)
            assert float(delta.norm()) == pytest.approx(expected, rel=1e-5)
        assert len({m["scale"] for m in record.values()}) == len(record)
        return
    whole = [torch.cat([x[name].flatten() for name in merged]) for x in inputs]
    size = float(torch.cat([x.flatten() for x in merged.values()]).norm())
    assert size == pytest.approx(wanted(rule, whole, WEIGHTS), rel=1e-5)
    assert len({m["scale"] for m in record.values()}) == 1


def test_one_module_may_have_its_own_scale(tmp_path: Path) -> None:
    """A rule for some modules looks at those; a number for others stays what it is."""
    folders = trio(tmp_path)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "adapters: [a, b, c]\nmethod: task-arithmetic\nscale: 0.5\nrank: full\n"
        "modules: [{match: '*.mlp.*', scale: mean}]\n"
    )
    from robustmerge.engine.merge import merge_recipe
    from robustmerge.engine.recipe import Recipe

    merge_recipe(Recipe.load(recipe)[0], tmp_path / "out")
    inputs, merged = [deltas(f) for f in folders], deltas(tmp_path / "out")
    for name, delta in merged.items():
        by = 1 / 3 if ".mlp." in name else 0.5
        torch.testing.assert_close(delta, by * sum(x[name] for x in inputs), rtol=1e-4, atol=1e-5)
