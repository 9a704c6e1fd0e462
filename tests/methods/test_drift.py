"""DRIFT against its formulas, written slowly on full deltas."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from robustmerge import methods
from robustmerge.errors import MergeError
from robustmerge.factors import Factors, Lifted, Stack, noted
from robustmerge.linalg import common_bases, fit
from robustmerge.methods.regression._proxies import (
    ModelSurvey,
    SurveySettings,
    _rows_of_module,
    _rows_of_stream,
)
from robustmerge.methods.regression._starts import (
    AssumedStart,
    Starts,
    StartSums,
    drifts,
    expected_drift,
)

DRIFT = methods.get("drift")
D_IN, D_OUT = 40, 14
BOUND = D_IN**-0.5
LAYER = "model.layers.0"
Q, K, DOWN = (
    f"{LAYER}.{name}" for name in ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj")
)


def adapters(
    shared: bool = True,
    ranks: tuple[int, ...] = (3, 3, 3),
    names: tuple[str, ...] = (Q, K, DOWN),
    d_in: int = D_IN,
) -> list[Stack]:
    """Updates of some modules, one rank per adapter, whose A drifted from PEFT's start."""
    stacks = []
    for m, name in enumerate(names):
        factors = []
        for t, rank in enumerate(ranks):
            first = torch.Generator().manual_seed(100 * m + (0 if shared else 1 + t))
            g = torch.Generator().manual_seed(1000 + 100 * m + t)
            A = (2 * torch.rand(rank, d_in, generator=first).double() - 1) * d_in**-0.5
            A += 0.2 * d_in**-0.5 * torch.randn(rank, d_in, generator=g).double()
            factors.append(Factors(A, torch.randn(D_OUT, rank, generator=g).double() * (1 + t)))
        stacks.append(Stack.of(factors, module=name))
    return stacks


def merge(stacks: list[Stack], **settings: Any) -> dict[str, Lifted]:
    parameters = DRIFT.configure(settings)
    assert DRIFT.survey is not None
    surveyed = DRIFT.survey(lambda work: map(work, stacks), [parameters] * len(stacks))
    merged = {}
    for stack in stacks:
        update = noted(DRIFT(stack, **parameters, surveyed=surveyed)).update
        assert isinstance(update, Lifted | Factors)
        merged[stack.module] = update
    return merged  # type: ignore[return-value]


def unit(C: Tensor) -> Tensor:
    return C / C.trace()


def minimize(stacks: list[Stack], at: int, C: list[Tensor]) -> Tensor:
    """Solve the normal equations on the full delta, given the moments of the inputs."""
    stack = stacks[at]
    axes = torch.linalg.svd(torch.cat([f.A for f in stack.factors]), full_matrices=False)[2]
    H, wanted = torch.zeros(D_OUT * D_IN, D_OUT * D_IN).double(), torch.zeros(D_OUT, D_IN).double()
    for t, delta in enumerate(stack.dense()):
        U = torch.linalg.svd(delta)[0][:, : stack.ranks[t]]
        L = 0.3 * torch.eye(D_OUT).double() + 0.7 * U @ U.T
        G = axes.T @ (axes @ C[t] @ axes.T) @ axes + 0.1 / len(axes) * axes.T @ axes
        H += torch.kron(L, G)
        wanted += L @ delta @ G  # three keep their norms
    return torch.linalg.lstsq(H, wanted.flatten()[:, None], driver="gelsd").solution.view(D_OUT, -1)


def project(stack: Stack, C: Tensor) -> Tensor:
    """Return moments within the rows that the adapters have."""
    axes = torch.linalg.svd(torch.cat([f.A for f in stack.factors]), full_matrices=False)[2]
    return axes.T @ axes @ C @ axes.T @ axes


def test_a_shared_start_gives_the_pooled_drift() -> None:
    stacks = adapters()
    merged = merge(stacks)
    for at, alike in ((0, (0, 1)), (1, (0, 1)), (2, (2,))):
        C = []
        for t in range(3):
            moved = [stacks[m].A[t] - stacks[m].A.mean(0) for m in alike]
            C.append(unit(project(stacks[at], sum(D.T @ D for D in moved))))  # type: ignore[arg-type]
        expected = minimize(stacks, at, C)
        torch.testing.assert_close(merged[stacks[at].module].dense(), expected)


def test_starts_of_their_own_give_what_is_common_and_the_updates_rows() -> None:
    stacks = adapters(shared=False)
    merged = merge(stacks)
    for at, others, alike in ((0, (1,), (0, 1)), (2, (2,), (2,))):
        rows = torch.cat([expected_drift(A) for m in others for A in stacks[m].A])
        axes = torch.linalg.svd(torch.cat([*stacks[at].A]), full_matrices=False)[2]
        L, V = torch.linalg.eigh(axes @ rows.T @ rows @ axes.T)
        common = axes.T @ V @ torch.diag((L - L.quantile(0.5)).clamp_min(0)) @ V.T @ axes
        C = []
        for t in range(3):
            own = sum(stacks[m].dense()[t].T @ stacks[m].dense()[t] for m in alike)
            C.append(unit(common) + 0.2 * unit(project(stacks[at], own)))  # type: ignore[arg-type]
        expected = minimize(stacks, at, C)
        torch.testing.assert_close(merged[stacks[at].module].dense(), expected)


def test_the_expected_drift_is_that_of_a_sample() -> None:
    g = torch.Generator().manual_seed(0)
    b, s = 1 / 20, 0.3 / 20
    moved = s * torch.randn(400, 400, generator=g).double()
    A = (2 * torch.rand(400, 400, generator=g).double() - 1) * b + moved
    expected = expected_drift(A)
    for low, high in ((0.0, 0.5), (0.7, 0.9), (0.9, 1.1), (1.1, 1.4)):
        within = (low * b < A) & (high * b >= A)
        assert float(expected[within].mean() - moved[within].mean()) == pytest.approx(
            0, abs=0.03 * b
        )


@pytest.mark.parametrize("size", [0.0, 1.0, 1e6])
def test_the_expected_drift_is_finite(size: float) -> None:
    assert expected_drift(size * torch.randn(3, 20).double()).isfinite().all()


def kinds(stacks: list[Stack]) -> tuple[str, ...]:
    return Starts.of(map(StartSums.of, stacks)).kinds


def test_starts_are_told_apart() -> None:
    assert kinds(adapters()) == ("shared",) * 3
    assert kinds(adapters(shared=False)) == ("independent",) * 3
    mixed = [
        Stack.of([*first.factors[:2], *second.factors[1:]], module=first.module)
        for first, second in zip(adapters(), adapters(shared=False), strict=True)
    ]
    assert Starts.of(map(StartSums.of, mixed)).groups == (0, 0, 2, 3)
    assert kinds(mixed) == ("shared", "shared", "independent", "independent")


def test_only_the_mean_of_those_of_one_start_is_taken_off() -> None:
    stack = Stack.of([*adapters()[0].factors[:2], *adapters(shared=False)[0].factors[1:]])
    moved = drifts(stack, Starts.of([StartSums.of(stack)]))
    A = stack.A
    torch.testing.assert_close(moved[0], A[0] - A[:2].mean(0))
    torch.testing.assert_close(moved[2], expected_drift(A[2]))


def test_an_a_in_other_coordinates_is_detected_and_said() -> None:
    stacks = []
    for stack in adapters():
        f = stack.factors[1]
        U, S, Vh = torch.linalg.svd(f.dense(), full_matrices=False)
        root = S[:3].sqrt()
        factors = (stack.factors[0], Factors(root[:, None] * Vh[:3], U[:, :3] * root))
        stacks.append(replace(stack, factors=(*factors, stack.factors[2])))
    assert kinds(stacks) == ("shared", "unknown", "shared")
    parameters = DRIFT.configure({})
    assert DRIFT.survey is not None
    surveyed = DRIFT.survey(lambda work: map(work, stacks), [parameters] * 3)
    (remark,) = noted(DRIFT(stacks[0], **parameters, surveyed=surveyed)).notes
    assert "2 share their start" in remark
    assert "singular value decomposition" in remark


def test_one_adapter_comes_back_as_it_is() -> None:
    stacks = [Stack.of(stack.factors[:1], module=stack.module) for stack in adapters()]
    for stack in stacks:
        torch.testing.assert_close(merge(stacks)[stack.module].dense(), stack.dense()[0])


@pytest.mark.parametrize("shared", [True, False])
def test_an_adapter_without_a_module_takes_no_part_in_it(shared: bool) -> None:
    stacks = adapters(shared, ranks=(3, 2, 3, 2))
    missing = Factors(stacks[0].factors[1].A[:0], stacks[0].factors[1].B[:, :0])
    factors = stacks[0].factors
    stacks[0] = replace(stacks[0], factors=(factors[0], missing, *factors[2:]))
    merged = merge(stacks)
    assert merged[Q].dense().isfinite().all()
    assert merged[Q].shape == (D_OUT, D_IN)


def test_weights_multiply_targets_and_zero_leaves_out() -> None:
    stacks = adapters()
    torch.testing.assert_close(
        merge([s.reweighted((2.0, 2.0, 2.0)) for s in stacks])[K].dense(),
        2 * merge(stacks)[K].dense(),
    )
    without = [s.reweighted((1.0, 0.0, 0.0)) for s in stacks]
    torch.testing.assert_close(merge(without)[K].dense(), stacks[1].dense()[0])


def test_the_rank_is_fitted_in_the_methods_own_measure() -> None:
    update = merge(adapters())[DOWN]
    assert update.measure is not None
    mine, kept = fit(update, 3)
    by_energy, _ = fit(replace(update, measure=None), 3)
    core = update.M

    def error(factors: Factors) -> float:
        inside = update.B.Q.T @ factors.dense() @ update.A.Q
        assert update.measure is not None
        return update.measure(inside - core)

    assert error(mine) < error(by_energy)
    assert kept == pytest.approx(1 - error(mine) / update.measure(core))
    assert mine.rank == 3


def few(stacks: list[Stack], adapters: int) -> list[Stack]:
    return [Stack.of(s.factors[:adapters], module=s.module) for s in stacks]


def test_norms_are_made_equal_as_adapters_become_many() -> None:
    norm = [
        sum(float(s.dense()[t].square().sum()) for s in adapters(ranks=(2,) * 8)) for t in range(8)
    ]
    for number, power in ((4, 0.0), (6, 0.5), (8, 1.0)):
        stacks = few(adapters(ranks=(2,) * 8), number)
        mean = sum(math.log(n) / 2 for n in norm[:number]) / number
        weights = tuple(math.exp(power * (mean - math.log(n) / 2)) for n in norm[:number])
        balanced = [s.reweighted(weights) for s in stacks]
        torch.testing.assert_close(
            merge(stacks)[K].dense(), merge(balanced, equalize=0.0)[K].dense(), rtol=1e-6, atol=1e-8
        )


def test_two_count_a_sixth_of_the_crosstalk() -> None:
    stacks = few(adapters(), 2)
    parameters = DRIFT.configure({"crosstalk": 0.3})
    assert DRIFT.survey is not None
    surveyed = DRIFT.survey(lambda work: map(work, stacks), [parameters] * 3)
    update = noted(DRIFT(stacks[0], **parameters, surveyed=surveyed)).update
    assert isinstance(update, Lifted)
    assert update.measure is not None
    torch.testing.assert_close(update.measure.E, (update.measure.G.sum(0)) * 0.05 / 0.95)


@pytest.mark.parametrize(("d_in", "power"), [(512, 1), (128, 1), (64, 2), (32, 3)])
def test_caution_is_for_many_adapters_with_starts_of_their_own(d_in: int, power: int) -> None:
    for shared, number in ((False, 5), (False, 4), (True, 5)):
        stacks = adapters(shared, ranks=(2,) * number, names=(Q, K), d_in=d_in)
        whole, cautious = merge(stacks, caution=1.0)[Q], merge(stacks, caution=0.5)[Q]
        factor = 0.5**power if number == 5 and not shared else 1.0
        torch.testing.assert_close(cautious.dense(), factor * whole.dense())


@pytest.mark.parametrize("start", ["shared", "independent", "unknown"])
@pytest.mark.parametrize("dependent", [False, True])
def test_a_module_by_itself_is_read_in_its_core_as_in_full_length(
    start: AssumedStart, dependent: bool
) -> None:
    factors = adapters(ranks=(3, 2, 3), names=(DOWN,))[0].factors
    if dependent:  # one A twice, and directions that are none
        factors = (*factors, Factors(factors[0].A, factors[2].B))
    stack = Stack.of(factors, module=DOWN)
    starts = Starts.of([StartSums.of(stack)], start)
    settings = SurveySettings(start, "drift", pool=True)
    _, A, inside = common_bases(stack.factors)
    own = _rows_of_module(stack, A, inside, starts, settings)
    stream = _rows_of_stream([stack], starts, settings)[DOWN]
    torch.testing.assert_close(own.moments(0.2), stream.moments(0.2))
    assert own.known == stream.known
    assert own.width == stream.width == 8


def test_of_modules_by_themselves_nothing_is_kept() -> None:
    assert DRIFT.survey is not None
    experts = tuple(f"{LAYER}.mlp.experts.{e}.gate_up_proj" for e in range(3))
    stacks = adapters(names=(Q, K, *experts))
    surveyed = DRIFT.survey(lambda work: map(work, stacks), [DRIFT.configure({})] * 5)
    assert isinstance(surveyed, ModelSurvey)
    assert surveyed.shared.keys() == {Q, K}


def test_settings_of_the_first_pass_are_the_same_everywhere() -> None:
    assert DRIFT.survey is not None
    settings = [DRIFT.configure({}), DRIFT.configure({"pool": False}), DRIFT.configure({})]
    with pytest.raises(MergeError, match="whole adapters"):
        DRIFT.survey(lambda work: map(work, adapters()), settings)
    with pytest.raises(MergeError, match="whole model"):
        DRIFT(adapters()[0], **DRIFT.configure({}))
