"""What every method must do, whatever it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given as cases, strategies as st

from make import stack
from robustmerge import methods
from robustmerge.factors import Dense, Factors, Noted, Stack
from robustmerge.methods import Method

METHODS = [pytest.param(m, id=m.name) for m in methods.every()]
SPACES = [
    pytest.param(m, {"space": space} if space else {}, id=f"{m.name}-{space}" if space else m.name)
    for m in methods.every()
    for space in (m.parameters["space"].choices if "space" in m.parameters else ("",))
]
every = pytest.mark.parametrize("method", METHODS)
every_space = pytest.mark.parametrize(("method", "given"), SPACES)


def merge(method: Method, stack: Stack, given: Mapping[str, Any] | None = None) -> torch.Tensor:
    """The merged delta, in float64."""
    parameters = method.configure(given or {})
    surveyed = {}
    if method.survey is not None:
        found = method.survey(lambda: iter([stack]), [parameters])
        surveyed = {} if found is None else {"surveyed": found}
    result = method(stack, **parameters, **surveyed)
    update = result.update if isinstance(result, Noted) else result
    if isinstance(update, Dense):
        return update.delta.double()
    return update.B.double() @ update.A.double()


def gauge_invariant(method: Method, given: Mapping[str, Any]) -> bool:
    """Whether the method claims to depend on the deltas only, under these settings."""
    claim = method.gauge_invariant
    if isinstance(claim, bool):
        return claim
    settings = method.configure(given)
    return all(settings[name] == value for name, value in claim)


shapes = st.tuples(
    st.integers(2, 14), st.integers(2, 14), st.lists(st.integers(0, 5), min_size=1, max_size=4)
).filter(lambda s: max(s[2]) > 0)


@every_space
@cases(shape=shapes, seed=st.integers(0, 999))
def test_any_adapters_merge_to_a_finite_update_of_the_right_shape(
    method: Method, given: dict[str, Any], shape: tuple[int, int, list[int]], seed: int
) -> None:
    d_out, d_in, ranks = shape
    merged = merge(method, stack(d_out, d_in, ranks, seed=seed), given)
    assert merged.shape == (d_out, d_in)
    assert merged.isfinite().all()


@every_space
def test_inputs_are_left_alone(method: Method, given: dict[str, Any]) -> None:
    before, after = stack(ranks=(3, 4)), stack(ranks=(3, 4))
    merge(method, after, given)
    for a, b in zip(before.factors, after.factors, strict=True):
        assert torch.equal(a.A, b.A)
        assert torch.equal(a.B, b.B)


@every_space
def test_the_order_of_adapters_matters_only_where_it_is_said(
    method: Method, given: dict[str, Any]
) -> None:
    there = stack(d_out=30, d_in=25, ranks=(4, 3, 4), weights=(1, 2, 0.5))
    back = Stack.of(there.factors[::-1], there.weights[::-1], module=there.module)
    same = torch.allclose(merge(method, there, given), merge(method, back, given), atol=1e-4)
    assert same == method.order_invariant


@every_space
def test_the_gauge_matters_only_where_it_is_said(method: Method, given: dict[str, Any]) -> None:
    """Another G for every adapter: B G^-1 and G A are the same update."""
    plain = stack(d_out=30, d_in=25, ranks=(4, 3, 4), dtype=torch.float64)
    turned = [_turned(f, t) for t, f in enumerate(plain.factors)]
    one, other = merge(method, plain, given), merge(method, Stack.of(turned), given)
    same = torch.allclose(one, other, atol=1e-4 * float(one.abs().max()))
    assert same == gauge_invariant(method, given)


def _turned(f: Factors, seed: int) -> Factors:
    g = torch.Generator().manual_seed(seed)
    G = torch.randn(f.rank, f.rank, generator=g, dtype=torch.float64)
    return Factors(G @ f.A, f.B @ torch.linalg.inv(G))


@every_space
def test_zero_directions_change_nothing_where_the_gauge_does_not_matter(
    method: Method, given: dict[str, Any]
) -> None:
    if not gauge_invariant(method, given):
        return
    plain = stack(d_out=20, d_in=15, ranks=(3, 3))
    padded = replace(plain, factors=tuple(f.pad(5) for f in plain.factors))
    torch.testing.assert_close(merge(method, padded, given), merge(method, plain, given))


@every_space
def test_all_zero_adapters_merge_to_zero(method: Method, given: dict[str, Any]) -> None:
    zero = Factors(torch.zeros(3, 8), torch.zeros(6, 3))
    assert not merge(method, Stack.of([zero, zero]), given).any()


@every_space
def test_weights_are_not_ignored(method: Method, given: dict[str, Any]) -> None:
    plain = stack(d_out=30, d_in=25, ranks=(4, 4))
    weighted = plain.reweighted((1.0, 0.25))
    one, other = merge(method, plain, given), merge(method, weighted, given)
    assert (one - other).norm() > 1e-3 * one.norm()


@every_space
def test_the_same_call_gives_the_same_bits(method: Method, given: dict[str, Any]) -> None:
    assert torch.equal(merge(method, stack(), given), merge(method, stack(), given))


@every
def test_the_seed_decides_exactly_where_the_method_is_random(method: Method) -> None:
    if not method.stochastic:
        assert "seed" not in method.parameters
        return
    wide = stack(d_out=30, d_in=25, ranks=(4, 4))
    one, two = merge(method, wide, {"seed": 1}), merge(method, wide, {"seed": 2})
    assert not torch.equal(one, two)
    elsewhere = replace(wide, module="another")
    assert not torch.equal(one, merge(method, elsewhere, {"seed": 1}))


@every
def test_every_method_has_a_page(method: Method) -> None:
    assert method.doc.count("\n") > 5
    assert "Source:" in method.doc
    assert method.paper
    assert method.checked
    assert all(p.doc for p in method.parameters.values())
