"""What a search draws is what methods accept, and begins at the defaults."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from annotated_types import Interval
from hypothesis import given, strategies as st

from robustmerge import methods
from robustmerge.errors import MergeError
from robustmerge.parameters import Parameter
from robustmerge.tuning.ranges import Choices, Range, range_of, read_named, read_range

PARAMETERS = [
    (f"{method.name}.{name}", parameter)
    for method in (*methods.every(), *methods.with_model())
    for name, parameter in method.parameters.items()
    if name != "seed"
]


@pytest.mark.parametrize("parameter", [p for _, p in PARAMETERS], ids=[n for n, _ in PARAMETERS])
def test_every_method_accepts_what_is_drawn(parameter: Parameter) -> None:
    drawn_from = range_of(parameter)
    assert drawn_from.nearest(parameter.default) == parameter.default
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    values = [drawn_from.draw(study.ask(), "value") for _ in range(30)]
    for value in values:
        assert parameter.check(value, "a method") == value
    assert len(set(values)) > 1


def parameter(
    kind: type, default: Any, bounds: Interval | None, choices: tuple[str, ...] = ()
) -> Parameter:
    return Parameter("x", kind, default, bounds, choices, "")


@pytest.mark.parametrize(
    ("declared", "wanted"),
    [
        (parameter(float, 0.3, Interval(gt=0, le=1)), Range(0.01, 1)),
        (parameter(float, 0.02, Interval(gt=0, le=1)), Range(0.002, 1, log=True)),
        (parameter(float, 2.0, Interval(gt=0)), Range(0.2, 20, log=True)),
        (parameter(float, 0.0, Interval(ge=0)), Range(0, 1)),
        (parameter(float, -3.0, None), Range(-6, 0)),
        (parameter(int, 4, Interval(ge=1)), Range(1, 40, log=True, whole=True)),
        (parameter(bool, True, None), Choices((False, True))),
        (parameter(str, "a", None, ("a", "b")), Choices(("a", "b"))),
    ],
)
def test_ranges_follow_from_declarations(declared: Parameter, wanted: object) -> None:
    assert range_of(declared) == wanted


@given(st.floats(1e-6, 1e6), st.floats(1.01, 100))
def test_a_drawn_number_stays_in_its_range_when_it_is_rounded(low: float, ratio: float) -> None:
    limits = Range(low, low * ratio, log=True)
    for value in (limits.low, limits.high):
        fixed = optuna.trial.FixedTrial({"x": value})
        assert limits.low <= limits.draw(fixed, "x") <= limits.high


def test_a_user_may_name_ranges() -> None:
    assert read_range("0.2..1", "") == Range(0.2, 1)
    assert read_range("0.1..2", "") == Range(0.1, 2, log=True)
    assert read_named("density=0.1..0.5, own-share", "") == {"density": "0.1..0.5", "own_share": ""}
    for text in ("2..1", "1", "a..b", ""):
        with pytest.raises(MergeError, match="is not a range"):
            read_range(text, "--search scale")


def test_a_range_becomes_as_wide_as_a_value_asks() -> None:
    drawn_from = Range(0.5, 2.0, log=True, whole=False)
    assert drawn_from.including(1.0) == drawn_from
    assert drawn_from.including(0.1) == Range(0.1, 2.0, log=True, whole=False)
    assert drawn_from.including(3.0) == Range(0.5, 3.0, log=True, whole=False)
    # No logarithm reaches zero.
    assert drawn_from.including(0.0) == Range(0.0, 2.0, log=False, whole=False)
