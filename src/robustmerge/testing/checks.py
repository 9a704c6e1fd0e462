"""The checks of the contract, one function each; they raise AssertionError."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from ..errors import MergeError
from ..factors import Factors, Stack
from ..methods._registry import Trait
from .cases import Delta, MethodCase, backwards, perturbed, random_stack, statistics, turned


def finite_and_of_the_right_shape(case: MethodCase) -> None:
    """Whatever the shapes and ranks: wide, tall, tiny, unequal, one adapter, absent adapters."""
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
    """A method is a pure function."""
    before, after = random_stack(), random_stack()
    case.merge(after)
    for a, b in zip(before.factors, after.factors, strict=True):
        _require(torch.equal(a.A, b.A) and torch.equal(a.B, b.B), "it changed its inputs")


def same_bits_again(case: MethodCase) -> None:
    """The same call, the same bits."""
    _require(
        torch.equal(case.merge(random_stack()), case.merge(random_stack())),
        "two calls gave two results",
    )


def zero_adapters(case: MethodCase) -> None:
    """Nothing merged with nothing is nothing; a zero among others does no harm."""
    zero = Factors(torch.zeros(3, 8).double(), torch.zeros(6, 3).double())
    _require(not case.merge(Stack.of([zero, zero])).any(), "zero adapters gave something")
    among = Stack.of([*random_stack(6, 8, (2, 2)).factors, zero])
    _require(bool(case.merge(among).isfinite().all()), "not finite with a zero adapter")


def awkward_adapters(case: MethodCase) -> None:
    """The same adapter twice, nearly equal A's, one adapter."""
    one, two, three = random_stack().factors
    _require(
        bool(case.merge(Stack.of([one, one, three])).isfinite().all()),
        "not finite where an adapter is given twice",
    )
    near = [Factors(one.A + 1e-6 * f.A[:1], f.B[:, : one.rank]) for f in (one, three)]
    _require(bool(case.merge(Stack.of(near)).isfinite().all()), "not finite for nearly equal A's")
    _require(bool(case.merge(Stack.of([two])).isfinite().all()), "not finite for one adapter")


def weights_matter(case: MethodCase) -> None:
    """A weight that has no effect is a weight ignored."""
    plain = random_stack()
    weighted = plain.reweighted((1.0, 0.25, 1.0))
    try:
        other = case.merge(weighted)
    except MergeError:
        return  # refused, which is clear enough
    one = case.merge(plain)
    _require(_apart(one, other) > 1e-3, "weights are ignored")


def order_of_adapters(case: MethodCase) -> None:
    """Claimed: order_invariant."""
    there = random_stack()
    back = replace(there, factors=there.factors[::-1], weights=there.weights[::-1])
    if case.method.needs:
        there = replace(there, data=statistics(there))
        back = backwards(there)
    apart = _apart(case.merge(there), case.merge(back))
    _compare(case, "order_invariant", case.method.order_invariant, apart)


def gauge(case: MethodCase) -> None:
    """Claimed: gauge_invariant. Another G for every adapter: B G^-1, G A is the same update."""
    plain = random_stack()
    other = replace(plain, factors=tuple(turned(f, t) for t, f in enumerate(plain.factors)))
    apart = _apart(case.merge(plain), case.merge(other))
    _compare(case, "gauge_invariant", case.method.gauge_invariant, apart)


def zero_directions(case: MethodCase) -> None:
    """Padding is no change where the gauge does not matter."""
    if not case.claims(case.method.gauge_invariant):
        return
    plain = random_stack()
    padded = replace(plain, factors=tuple(f.pad(6) for f in plain.factors))
    apart = _apart(case.merge(plain), case.merge(padded))
    _require(apart < 1e-6, f"zero directions change the merge by {apart:.1g} of it")


def whole_deltas(case: MethodCase) -> None:
    """Where the gauge does not matter, the full delta times an identity is the same update, too.

    That is the dense definition: nothing can be gained by knowing the factors.
    """
    if not case.claims(case.method.gauge_invariant):
        return
    plain = random_stack(12, 9, (2, 1, 2))
    identity = torch.eye(12, dtype=torch.float64)
    whole = replace(plain, factors=tuple(Factors(f.dense(), identity) for f in plain.factors))
    apart = _apart(case.merge(plain), case.merge(whole))
    _require(apart < 1e-6, f"the same deltas, unfactored, differ by {apart:.1g}")


def scale_of_updates(case: MethodCase) -> None:
    """Claimed: scale_equivariant."""
    plain = random_stack()
    larger = replace(plain, factors=tuple(f.scaled(2.0**-24) for f in plain.factors))
    apart = _apart(2.0**-24 * case.merge(plain), case.merge(larger))
    _compare(case, "scale_equivariant", case.method.scale_equivariant, apart)


def rounding(case: MethodCase) -> None:
    """Claimed: stable. Inputs changed by 1e-12 of themselves, also where ranks overlap."""
    one, two, three = random_stack().factors
    stacks = [random_stack(), Stack.of([one, two, three, one])]
    apart = max(_apart(case.merge(s), case.merge(perturbed(s))) for s in stacks)
    stable = case.claims(case.method.stable)
    _require(not stable or apart < 1e-7, f"1e-12 in the inputs changes the merge by {apart:.1g}")
    _require(stable or apart > 1e-7, "it claims to be unstable, but nothing shows it")


def seed_decides(case: MethodCase) -> None:
    """A random method depends on its seed and on the module, and no other method has a seed."""
    if not case.method.stochastic:
        return
    wide = random_stack(40, 35)
    one = case.merge(wide, seed=1)
    _require(not torch.equal(one, case.merge(wide, seed=2)), "the seed has no effect")
    elsewhere = replace(wide, module="another")
    _require(
        not torch.equal(one, case.merge(elsewhere, seed=1)), "all modules draw the same numbers"
    )


def documented(case: MethodCase) -> None:
    """Formula, meaning and source; every parameter explained."""
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


def _apart(one: Delta, other: Delta) -> float:
    """Relative distance in the Frobenius norm."""
    return float((one - other).norm() / one.norm().clamp_min(1e-300))
