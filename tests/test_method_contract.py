"""Every method, in all its spaces and flavors, does what the contract asks of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given as cases, strategies as st

from robustmerge import methods
from robustmerge.testing import CHECKS, MethodCase, random_stack

SELECTORS = (
    "flavor",
    "filter",
    "solve",
    "elect",
    "combine",
    "inner",
    "start",
    "smoothing",
    "sign",
)
"""Parameters whose values are methods of their own."""


def settings_of(method: methods.Method) -> list[dict[str, Any]]:
    """Return the defaults and each other choice of each selector, all of it in every space."""
    result: list[dict[str, Any]] = [{}]
    for name in SELECTORS:
        if name in method.parameters:
            p = method.parameters[name]
            result += [{name: choice} for choice in p.choices if choice != p.default]
    if "space" in method.parameters:
        p = method.parameters["space"]
        others = [choice for choice in p.choices if choice != p.default]
        result += [{"space": space, **settings} for space in others for settings in result]
    return result


EVERY = [
    pytest.param(m, settings, id="-".join([m.name, *settings.values()]))
    for m in methods.every()
    for settings in settings_of(m)
]
shapes = st.tuples(
    st.integers(2, 14), st.integers(2, 14), st.lists(st.integers(0, 5), min_size=1, max_size=4)
).filter(lambda s: max(s[2]) > 0)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("method", "settings"), EVERY)
def test_contract(method: methods.Method, settings: dict[str, Any], check: Any) -> None:
    check(MethodCase.of(method, settings))


@pytest.mark.parametrize(("method", "settings"), EVERY)
@cases(shape=shapes, seed=st.integers(0, 999))
def test_any_adapters_merge_to_a_finite_update_of_the_right_shape(
    method: methods.Method, settings: dict[str, Any], shape: tuple[int, int, list[int]], seed: int
) -> None:
    d_out, d_in, ranks = shape
    merged = MethodCase.of(method, settings).merge(random_stack(d_out, d_in, ranks, seed=seed))
    assert merged.shape == (d_out, d_in)
    assert merged.isfinite().all()
