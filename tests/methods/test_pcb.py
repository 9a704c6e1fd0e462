"""PCB-Merging against worked numbers and the released arithmetic written densely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from factories.adapters import stack
from robustmerge import methods
from robustmerge.errors import MergeError
from robustmerge.factors import Dense, Factors, Stack
from robustmerge.methods.entrywise import _entries
from robustmerge.methods.entrywise._entries import EntryBlock
from robustmerge.methods.entrywise.pcb import _norm, _score

PCB = methods.get("pcb")
SPACES = ("factor", "delta")
TAUS = torch.tensor([[0.1, 0.2, -0.3, 0.4], [0.4, -0.1, -0.2, 0.3]], dtype=torch.float64)


def merged(stacks: Sequence[Stack], **settings: Any) -> list[Factors | Dense]:
    """Return all modules of a model, merged as the engine does it."""
    parameters = PCB.configure(settings)
    assert PCB.survey is not None
    result = PCB.survey(lambda work: map(work, stacks), [parameters] * len(stacks))
    surveyed = {} if result is None else {"surveyed": result}
    return [PCB(s, **parameters, **surveyed) for s in stacks]  # type: ignore[misc]


def delta(inputs: Stack, **parameters: Any) -> Tensor:
    (update,) = merged([inputs], space="delta", **parameters)
    assert isinstance(update, Dense)
    return update.delta


def by_hand(
    taus: Tensor,
    density: float,
    clamp: float,
    weights: Sequence[float] = (1, 1, 1),
    own: Sequence[int] = (),
) -> Tensor:
    """Return the released arithmetic on vectors [task n], one adapter after the other.

    Of an adapter's vector only the first `own` entries are its own.
    """
    T = len(taus)
    clamped, shares = torch.zeros_like(taus), torch.zeros_like(taus)
    for t, n in enumerate(own or [taus.shape[1]] * T):
        tau = taus[t, :n]
        ranked = tau.abs().sort().values
        low, high = ranked[int(n * clamp)], ranked[int(n * (1 - clamp) - 1)]
        size = tau.abs().clamp(low, high)
        score = (T * ((size - low) / (high - low)) ** 2).exp() * (tau * taus.sum(0)[:n]).tanh()
        score = score.clamp_min(score.sort().values[int(n * (1 - density))])
        shares[t, :n] = (score - score.min()) / (score.max() - score.min())
        clamped[t, :n] = tau.sign() * size
    w = torch.tensor(weights[:T], dtype=taus.dtype)[:, None]
    return (w * shares * clamped).sum(0) / shares.sum(0).clamp_min(1e-12)


def worked() -> Stack:
    return Stack.of([Factors(tau[None], torch.ones(1, 1).double()) for tau in TAUS])


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.5, [0.4, 0, 0, 0.4]), (0.75, [0.4, 0, -0.3, 0.3779])]
)
def test_worked_numbers(ratio: float, expected: list[float]) -> None:
    """Leave out the clamp, which is tiny in long vectors and would cut the largest of four."""
    result = delta(worked(), density=ratio, clamp=0, gain=1)
    assert result[0].tolist() == pytest.approx(expected, abs=1e-4)


def test_worked_scores_and_scales() -> None:
    low, high = TAUS.abs().amin(1)[:, None, None], TAUS.abs().amax(1)[:, None, None]
    scores = _score(EntryBlock("all", TAUS[:, None], (1,) * len(TAUS)), low, high)
    expected = [[0.05, 0.025, 0.3622, 2.0165], [1.4584, -0.01, 0.1245, 0.5034]]
    # The method leaves a factor exp(T) out.
    torch.testing.assert_close(
        scores[:, 0] * math.exp(2), torch.tensor(expected).double(), atol=1e-4, rtol=0
    )
    floor, top = scores.sort().values[:, :, 1:2], scores.amax((1, 2), keepdim=True)
    scale = [[0, 0, 0.1588, 1], [1, 0, 0, 0.2841]]
    result = _norm(scores, floor, top)[:, 0]
    torch.testing.assert_close(result, torch.tensor(scale).double(), atol=1e-4, rtol=0)


def test_the_clamp_cuts_both_ends() -> None:
    """Of four magnitudes .1 to .4 the second and, from the top, the third: all become .2."""
    result = delta(worked(), density=1.0, clamp=0.3, gain=1)[0]
    torch.testing.assert_close(result[result != 0].abs(), torch.full((3,), 0.2).double())


@pytest.mark.parametrize("density", [0.05, 0.4, 1.0])
@pytest.mark.parametrize("clamp", [0.0, 0.02])
def test_deltas_by_the_released_arithmetic(
    density: float, clamp: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_entries, "_BAND", 50)
    inputs = stack(ranks=(3, 2, 5), weights=(1, -0.5, 2), dtype=torch.float64)
    taus = torch.stack([f.dense().flatten() for f in inputs.factors])
    expected = 1.3 * by_hand(taus, density, clamp, inputs.weights)
    result = delta(inputs, density=density, clamp=clamp, gain=1.3)
    torch.testing.assert_close(result.flatten(), expected)


def test_factors_by_the_released_arithmetic_with_scalings_folded_in() -> None:
    plain = stack(ranks=(4, 4), weights=(4, 0.25), dtype=torch.float64)
    inputs = replace(plain, scalings=(2.0, 0.5))
    (result,) = merged([inputs], density=0.3, clamp=0.02, gain=1)
    assert isinstance(result, Factors)
    roots = [math.sqrt(s) for s in inputs.scalings]
    for part, got in (("A", result.A), ("B", result.B.T)):
        taus = [
            f.A * r if part == "A" else f.B.T / r for f, r in zip(plain.factors, roots, strict=True)
        ]
        expected = by_hand(torch.stack([t.flatten() for t in taus]), 0.3, 0.02, (2, 0.5))
        torch.testing.assert_close(got.flatten(), expected)


@pytest.mark.parametrize("space", SPACES)
def test_gain_multiplies_the_update(space: str) -> None:
    inputs = stack(weights=(1, -1, 2), dtype=torch.float64)
    (first,), (second,) = (
        merged([inputs], space=space, gain=1),
        merged([inputs], space=space, gain=-3),
    )
    deltas = [u.delta if isinstance(u, Dense) else u.dense() for u in (first, second)]
    torch.testing.assert_close(deltas[1], -3 * deltas[0])


@pytest.mark.parametrize("space", SPACES)
def test_scope_model_is_one_vector_of_all_modules(
    space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_entries, "_BAND", 40)
    small = stack(d_out=6, d_in=9, ranks=(2, 2), dtype=torch.float64)
    small = Stack.of([Factors(f.A * 0.3, f.B * 0.1) for f in small.factors], module="small")
    large = stack(d_out=8, d_in=7, ranks=(3, 3), seed=1, dtype=torch.float64)
    inputs = {"space": space, "density": 0.3, "clamp": 0.02, "gain": 1.0}
    result = merged([small, large], scope="model", **inputs)
    for part in ("delta",) if space == "delta" else ("A", "B"):

        def flat(x: Factors | Dense, part: str = part) -> Tensor:
            y = {"delta": getattr(x, "delta", None), "A": getattr(x, "A", None)}.get(part)
            return (y if y is not None else x.B.T).flatten()  # type: ignore[union-attr]

        taus = torch.stack(
            [
                torch.cat(
                    [
                        flat(Dense(m.factors[t].dense()) if part == "delta" else m.factors[t])
                        for m in (small, large)
                    ]
                )
                for t in (0, 1)
            ]
        )
        torch.testing.assert_close(torch.cat([flat(u) for u in result]), by_hand(taus, 0.3, 0.02))
    apart = merged([small, large], scope="module", **inputs)
    assert not torch.allclose(
        *(getattr(u[0], "delta" if space == "delta" else "A") for u in (result, apart))
    )


def test_unequal_ranks_are_ranked_and_scored_at_their_own() -> None:
    inputs = stack(ranks=(2, 5), dtype=torch.float64)
    (result,) = merged([inputs], density=0.6, clamp=0.1, gain=1)
    assert isinstance(result, Factors)
    taus = torch.stack([f.pad(5).A.flatten() for f in inputs.factors])
    expected = by_hand(taus, 0.6, 0.1, own=(20, 50))
    torch.testing.assert_close(result.A.flatten(), expected)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("scope", ["module", "model"])
def test_adapters_without_the_module_leave_it_finite(space: str, scope: str) -> None:
    inputs = [stack(ranks=(3, 0)), stack(ranks=(0, 3), seed=1)]
    for update in merged(inputs, space=space, scope=scope, density=0.5):
        result = update.delta if isinstance(update, Dense) else update.dense()
        assert result.isfinite().all()
        assert result.any()


def test_a_hundred_adapters_stay_finite() -> None:
    result = delta(stack(ranks=(2,) * 100))
    assert result.isfinite().all()
    assert result.any()


def test_scope_model_of_one_module_is_refused() -> None:
    with pytest.raises(MergeError, match="scope=model looks at the whole model"):
        PCB(stack(), **PCB.configure({"scope": "model"}))
