"""Rivals that learn coefficients: losses and sums by definition, and the model with gradients."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import robustmerge
from bench_factories.untrained_world import make_root
from coefficients import put
from coefficients_parts.learning import LearningSet
from coefficients_parts.live import CoefficientModel
from coefficients_parts.losses import entropy, mean_over_tokens, outside, soft_maximum
from coefficients_parts.prompts import embed
from coefficients_parts.rivals import RIVALS, START, block_of
from coefficients_parts.weighted import FORMS, row_space
from robustmerge.factors import Factors
from robustmerge_bench.mini.student import MiniModel
from robustmerge_bench.mini.tasks import SEEN, TASKS


def random_updates(tasks: int = 3, rank: int = 2) -> list[Factors]:
    torch.manual_seed(tasks)
    return [Factors(torch.randn(rank, 9), torch.randn(7, rank)) for _ in range(tasks)]


def test_what_lies_outside_is_the_papers_loss() -> None:
    updates = random_updates()
    x = torch.randn(3, 5, 9)  # [task, token, d_in]
    shares = outside(x, torch.stack([row_space(update) for update in updates]))
    for share, inputs, update in zip(shares, x, updates, strict=True):
        for value, one in zip(share, inputs, strict=True):
            y = update.A @ one
            inside = y @ torch.linalg.inv(update.A @ update.A.T) @ y
            assert value == pytest.approx(math.sqrt(1 - inside / (one @ one)), abs=1e-5)


def test_inputs_inside_and_outside_of_the_rows() -> None:
    A = torch.eye(4)[:2]
    x = torch.tensor([[[1.0, 2, 0, 0], [0, 0, 3, 1], [0, 0, 0, 0]]], requires_grad=True)
    shares = outside(x, row_space(Factors(A, torch.zeros(3, 2)))[None])
    assert shares[0, :2].tolist() == pytest.approx([0.0, 1.0], abs=1e-3)
    shares.sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def test_every_row_counts_alike_whatever_its_length() -> None:
    values = torch.tensor([[1.0, 3.0, 100.0], [5.0, 100.0, 100.0]])
    counted = torch.tensor([[True, True, False], [True, False, False]])
    assert mean_over_tokens(values, counted) == pytest.approx((2 + 5) / 2)


def test_entropy_of_an_even_and_of_a_certain_prediction() -> None:
    logits = torch.tensor([[1.0, 1, 1, 1], [0, 100, 0, 0]])
    assert entropy(logits).tolist() == pytest.approx([math.log(4), 0], abs=1e-6)


def test_a_soft_maximum_lies_between_the_maximum_and_one_for_equal_tasks() -> None:
    gaps = torch.tensor([0.5, 2.0, -1.0])
    assert soft_maximum(gaps, 1.0, alpha=0.01) == pytest.approx(2.0, abs=1e-3)
    assert soft_maximum(gaps, 1.0) == pytest.approx(math.log(gaps.exp().sum()))
    assert soft_maximum(gaps, 1 / 3, 2.0) == pytest.approx(2 * math.log((gaps / 6).exp().sum()))
    assert soft_maximum(torch.zeros(8), 1.0) == pytest.approx(math.log(8))


@pytest.mark.parametrize("form", FORMS)
def test_equal_coefficients_are_the_scaled_sum(form: str) -> None:
    updates = random_updates()
    weighted = FORMS[form](updates)
    merged = weighted.factors(weighted.start(0.4))
    total = torch.stack([update.dense() for update in updates]).sum(0)
    torch.testing.assert_close(merged.dense(), 0.4 * total, atol=1e-5, rtol=1e-5)
    assert merged.rank == sum(update.rank for update in updates)


@pytest.mark.parametrize(("form", "shape"), [("adapters", (1, 3)), ("directions", (3, 6))])
def test_the_coefficients_of_one_adapter(form: str, shape: tuple[int, int]) -> None:
    updates = random_updates()
    weighted = FORMS[form](updates)
    only = weighted.start(0.0)
    assert only.shape == shape
    only[(0, 1) if form == "adapters" else 1] = 1.0
    merged = weighted.factors(only).dense()
    torch.testing.assert_close(merged, updates[1].dense(), atol=1e-5, rtol=1e-5)


def test_directions_are_those_of_the_stacked_updates() -> None:
    updates = random_updates()
    weighted = FORMS["directions"](updates)
    U, S, _ = torch.linalg.svd(torch.cat([update.dense() for update in updates], 1))
    torch.testing.assert_close(weighted.B.norm(dim=0), S[:6], atol=1e-4, rtol=1e-4)
    chosen = weighted.start(0.0)
    chosen[2, 4] = 1.0  # the fifth direction of the third adapter
    expected = torch.outer(U[:, 4], U[:, 4]) @ updates[2].dense()
    torch.testing.assert_close(weighted.factors(chosen).dense(), expected, atol=1e-4, rtol=1e-4)


def test_a_unit_has_a_coefficient() -> None:
    updates = random_updates()
    weighted = FORMS["units"](updates)
    chosen = weighted.start(0.0)
    chosen[0, 3] = 1.0  # the second unit of the second adapter
    expected = torch.outer(updates[1].B[:, 1], updates[1].A[1])
    torch.testing.assert_close(weighted.factors(chosen).dense(), expected)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random experts on a random base."""
    return make_root(tmp_path_factory.mktemp("random") / "root")


@pytest.fixture(scope="module")
def experts(root: Path) -> list[Path]:
    return [root / "experts" / "shared-0" / task for task in SEEN]


@pytest.fixture(scope="module")
def start(experts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Task arithmetic at the coefficient that rivals start from."""
    folder = tmp_path_factory.mktemp("start") / "full"
    robustmerge.merge(
        experts, folder, method="task-arithmetic", scale=START, rank="full", dtype="float32"
    )
    return folder


def last_logits(model: MiniModel, adapter: Path) -> Tensor:
    """An adapter's logits at the ends of prompts of two tasks."""
    items = [TASKS[task].items("validation", 2) for task in ("vqa", "ocr")]
    with model.using(adapter), torch.no_grad():
        prompts, plain = embed(model, items), CoefficientModel(model, {}, 0.0)
        return plain.logits(prompts, plain.run(prompts))


@pytest.mark.parametrize("form", FORMS)
def test_a_live_sum_begins_as_task_arithmetic(
    form: str, root: Path, experts: list[Path], start: Path, tmp_path: Path
) -> None:
    model = MiniModel.load(root / "base", dtype=torch.float32)
    adapters = [robustmerge.load(expert) for expert in experts]
    updates = {
        name: FORMS[form]([adapter.factors(name) for adapter in adapters])
        for name in adapters[0].modules
    }
    expected = last_logits(model, start)
    live = CoefficientModel(model, updates, START)
    items = [TASKS[task].items("validation", 2) for task in ("vqa", "ocr")]
    with model.using(start):
        prompts = embed(model, items)
    logits = live.logits(prompts, live.run(prompts))
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)
    alone = prompts.rows([1])  # a prompt by itself, without the padding of the longer ones
    assert alone.embedded.shape[1] == int(prompts.last[1]) + 1
    torch.testing.assert_close(
        live.logits(alone, live.run(alone)), expected[1:2], atol=1e-3, rtol=0
    )
    folder = put(live.factors(), start)
    torch.testing.assert_close(last_logits(model, folder), expected, atol=1e-3, rtol=1e-3)


def test_steps_lower_every_loss(root: Path, experts: list[Path], start: Path) -> None:
    model = MiniModel.load(root / "base", dtype=torch.float32)
    items = [TASKS[task].items("validation", 3) for task in SEEN]
    learning = LearningSet(model, experts, start, items, held_out=1)
    for name in ("nsc", "nsc-all", "tara-a", "tara-b"):
        before, after = learning.learn(RIVALS[name], 1e-2, [1, 12])
        assert after.held_out < before.held_out, name
        assert after.moved > before.moved


def test_the_number_of_a_block() -> None:
    assert block_of("model.language_model.layers.12.self_attn.v_proj") == 12
