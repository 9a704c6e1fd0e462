"""The checks of the contract, one function each; they raise AssertionError."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from ..errors import MergeError
from ..factors import Factors, Stack
from ..methods._registry import Trait
from .cases import (
    Delta,
    MethodCase,
    alike_stack,
    change_gauge,
    perturb,
    random_stack,
    reverse,
    statistics,
)


def finite_and_of_the_right_shape(case: MethodCase) -> None:
    """Check all shapes and ranks: wide, tall, tiny, unequal, one adapter, missing modules."""
    shapes: list[tuple[int, int, tuple[int, ...]]] = [
        (6, 9, (2, 3)),
        (9, 6, (3, 1, 2)),
        (3, 3, (3, 3, 3)),
        (2, 8, (1, 0, 2)),
        (7, 5, (2,)),
        (1, 4, (1, 1)),
    ]
    for d_out, d_in, ranks in shapes:
        for dtype in (torch.float32, torch.float64):
            merged = case.merge(random_stack(d_out, d_in, ranks, dtype=dtype))
            _require(merged.shape == (d_out, d_in), f"shape {tuple(merged.shape)} for {ranks}")
            _require(bool(merged.isfinite().all()), f"not finite for {(d_out, d_in)}, {ranks}")


def inputs_untouched(case: MethodCase) -> None:
    """Check that a method is a pure function."""
    before, after = random_stack(), random_stack()
    case.merge(after)
    for a, b in zip(before.factors, after.factors, strict=True):
        _require(torch.equal(a.A, b.A) and torch.equal(a.B, b.B), "it changed its inputs")


def same_bits_again(case: MethodCase) -> None:
    """Check that the same call gives the same bits."""
    _require(
        torch.equal(case.merge(random_stack()), case.merge(random_stack())),
        "two calls gave two results",
    )


def zero_adapters(case: MethodCase) -> None:
    """Check that zero updates merge to zero, and that one among others does no harm."""
    zero = Factors(torch.zeros(3, 8).double(), torch.zeros(6, 3).double())
    _require(not case.merge(Stack.of([zero, zero])).any(), "zero adapters gave something")
    among = Stack.of([*random_stack(6, 8, (2, 2)).factors, zero])
    _require(bool(case.merge(among).isfinite().all()), "not finite with a zero adapter")


def awkward_adapters(case: MethodCase) -> None:
    """Check the same adapter twice, nearly equal A's, and one adapter."""
    first, second, third = random_stack().factors
    _require(
        bool(case.merge(Stack.of([first, first, third])).isfinite().all()),
        "not finite where an adapter is given twice",
    )
    near = [Factors(first.A + 1e-6 * f.A[:1], f.B[:, : first.rank]) for f in (first, third)]
    _require(bool(case.merge(Stack.of(near)).isfinite().all()), "not finite for nearly equal A's")
    _require(bool(case.merge(Stack.of([second])).isfinite().all()), "not finite for one adapter")


def weights_matter(case: MethodCase) -> None:
    """Check that a weight has an effect."""
    plain = random_stack()
    weighted = plain.reweighted((1.0, 0.25, 1.0))
    try:
        other = case.merge(weighted)
    except MergeError:
        return  # refused, which is clear enough
    _require(_distance(case.merge(plain), other) > 1e-3, "weights are ignored")


def order_of_adapters(case: MethodCase) -> None:
    """Check the claim order_invariant."""
    plain = random_stack()
    if case.method.needs:
        plain = replace(plain, data=statistics(plain))
    apart = _distance(case.merge(plain), case.merge(reverse(plain)))
    _compare(case, "order_invariant", case.method.order_invariant, apart)


def gauge(case: MethodCase) -> None:
    """Check the claim gauge_invariant: B G^-1, G A is the same update, with a G per adapter.

    A method may look at the A's, and only find something in those of one start.
    """
    apart = []
    for plain in (random_stack(), alike_stack()):
        factors = tuple(change_gauge(f, t) for t, f in enumerate(plain.factors))
        apart.append(_distance(case.merge(plain), case.merge(replace(plain, factors=factors))))
    _compare(case, "gauge_invariant", case.method.gauge_invariant, max(apart))


def zero_directions(case: MethodCase) -> None:
    """Check that padding changes nothing where the gauge does not matter."""
    if not case.claims(case.method.gauge_invariant):
        return
    plain = random_stack()
    padded = replace(plain, factors=tuple(f.pad(6) for f in plain.factors))
    apart = _distance(case.merge(plain), case.merge(padded))
    _require(apart < 1e-6, f"zero directions change the merge by {apart:.1g} of it")


def whole_deltas(case: MethodCase) -> None:
    """Check that full deltas times an identity merge alike where the gauge does not matter.

    That is the dense definition: the factors must make no difference.
    """
    if not case.claims(case.method.gauge_invariant):
        return
    plain = random_stack(12, 9, (2, 1, 2))
    identity = torch.eye(12, dtype=torch.float64)
    whole = replace(plain, factors=tuple(Factors(f.dense(), identity) for f in plain.factors))
    apart = _distance(case.merge(plain), case.merge(whole))
    _require(apart < 1e-6, f"the same deltas, unfactored, differ by {apart:.1g}")


def scale_of_updates(case: MethodCase) -> None:
    """Check the claim scale_equivariant."""
    plain = random_stack()
    # A power of two, so that no bit is rounded; small, so that constants in a method show.
    smaller = replace(plain, factors=tuple(f.scaled(2.0**-24) for f in plain.factors))
    apart = _distance(2.0**-24 * case.merge(plain), case.merge(smaller))
    _compare(case, "scale_equivariant", case.method.scale_equivariant, apart)


def rounding(case: MethodCase) -> None:
    """Check the claim stable: inputs changed by 1e-12 of themselves, also where ranks overlap."""
    plain = random_stack()
    stacks = [plain, Stack.of([*plain.factors, plain.factors[0]])]
    apart = max(_distance(case.merge(s), case.merge(perturb(s))) for s in stacks)
    stable = case.claims(case.method.stable)
    _require(not stable or apart < 1e-7, f"1e-12 in the inputs changes the merge by {apart:.1g}")
    _require(stable or apart > 1e-7, "it claims to be unstable, but nothing shows it")


def seed_decides(case: MethodCase) -> None:
    """Check that a random method depends on its seed and on the module."""
    if not case.method.stochastic:
        return
    wide = random_stack(40, 35)
    merged = case.merge(wide, seed=1)
    _require(not torch.equal(merged, case.merge(wide, seed=2)), "the seed has no effect")
    elsewhere = replace(wide, module="another")
    _require(
        not torch.equal(merged, case.merge(elsewhere, seed=1)), "all modules draw the same numbers"
    )


def documented(case: MethodCase) -> None:
    """Check the page: formula, meaning and source, and every parameter explained."""
    page = case.method.doc
    _require(page.count("\n") > 5, "its module's docstring should be a page")
    _require("Source:" in page, "its page should name the source, after 'Source:'")
    _require(bool(case.method.paper and case.method.checked), "paper and checked are empty")
    for parameter in case.method.parameters.values():
        _require(bool(parameter.doc), f"parameter {parameter.name} is not explained in Args")


CHECKS: tuple[Callable[[MethodCase], None], ...] = (
    finite_and_of_the_right_shape,
    inputs_untouched,
    same_bits_again,
    zero_adapters,
    awkward_adapters,
    weights_matter,
    order_of_adapters,
    gauge,
    zero_directions,
    whole_deltas,
    scale_of_updates,
    rounding,
    seed_decides,
    documented,
)


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise AssertionError(problem)


def _compare(case: MethodCase, name: str, trait: Trait, apart: float) -> None:
    if case.claims(trait):
        _require(apart < 1e-6, f"claimed, but the merge differs by {apart:.1g} of it")
    else:
        _require(apart > 1e-4, f"{name} is not claimed, but holds")


def _distance(first: Delta, second: Delta) -> float:
    """Return the relative distance in the Frobenius norm."""
    return float((first - second).norm() / first.norm().clamp_min(1e-300))
