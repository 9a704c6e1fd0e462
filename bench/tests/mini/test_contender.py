"""Contenders as users write them."""

from __future__ import annotations

import pytest

from robustmerge import methods
from robustmerge.errors import MergeError
from robustmerge_bench.mini.runs.contender import Contender, every, parse_all, split


def test_a_method_with_parameters_and_steps_around_it() -> None:
    result = Contender.parse("norms:exponent=1,cap=3+ties:density=0.3,space=delta+svc")
    assert result.method == "ties"
    assert dict(result.settings) == {"density": 0.3, "space": "delta"}
    assert (result.balance, result.calibrate) == (("norms:exponent=1,cap=3",), ("svc",))
    assert result.parameters["elect"] == "total"  # a default of the method


@pytest.mark.parametrize(
    "text",
    [
        *("ties", "ties:density=0.3,space=delta", "norms+tsv-m+svc", "pico+pico", "pico+svc"),
        *("relay+polish:steps=100", "norms+ties+svc+polish:steps=20,prompts=8,rate=0.01"),
    ],
)
def test_a_label_reads_as_itself(text: str) -> None:
    assert Contender.parse(text).label == text
    assert Contender.parse(Contender.parse(text).label) == Contender.parse(text)


def test_a_name_that_is_a_step_and_a_method() -> None:
    assert Contender.parse("pico").balance == ()
    assert Contender.parse("pico+ties") == Contender("ties", balance=("pico",))
    assert Contender.parse("pico+pico") == Contender("pico", balance=("pico",))


def test_the_order_and_spelling_of_parameters_does_not_matter() -> None:
    one = Contender.parse("ties:space=delta,density=0.30")
    assert one == Contender.parse("ties:density=.3,space=delta")
    assert one.label == "ties:density=0.3,space=delta"


def test_commas_separate_contenders_and_parameters() -> None:
    text = "ties:density=0.3,space=delta,dare,norms:exponent=1,cap=3+ties,robustmerge:gain-A=1"
    assert split(text) == [
        "ties:density=0.3,space=delta",
        "dare",
        "norms:exponent=1,cap=3+ties",
        "robustmerge:gain-A=1",
    ]


def test_one_that_is_named_twice_counts_once() -> None:
    assert [c.label for c in parse_all(["ties,dare", "ties"])] == ["ties", "dare"]


def test_every_method_and_what_it_has_to_know() -> None:
    taken = every()
    assert [c.label for c in taken[:-1]] == [m.name for m in methods.every()]
    assert taken[-1].label == "random-directions+task-arithmetic"
    knowing = {c.method: c.statistics for c in taken if c.statistics}
    moments = dict.fromkeys(("esm", "output-fit", "regmean-rows"), ("gram",))
    assert knowing == {**moments, "regmean": ("inputs",), "fisher": ("fisher",)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tiess", "did you mean ties?"),
        ("norms+tiess", "did you mean ties?"),
        ("norms", "not a method"),
        ("svc+ties", "not a method with steps around it"),
        ("ties+norms", "not a method with steps around it"),
        ("ties:densty=0.3", "did you mean density?"),
        ("ties:density=2", "it is float > 0 and <= 1"),
        ("ties:density", "name=value"),
        ("norms:exponnt=1+ties", "did you mean exponent?"),
        ("ties+svc:nonsense=1", "parameter"),
    ],
)
def test_what_is_no_contender(text: str, words: str) -> None:
    with pytest.raises(MergeError) as caught:
        Contender.parse(text)
    assert words in str(caught.value)


def test_gradient_steps_come_last_and_need_prompts() -> None:
    plain = Contender.parse("ties+polish")
    assert (plain.method, plain.polish, plain.label) == ("ties", "300", "ties+polish:steps=300")
    own = Contender.parse("ties+polish:rate=1e-2,steps=20,prompts=8,held_out=2")
    assert own.polish == "20:held_out=2,prompts=8,rate=0.01"
    assert own.polishing is not None
    assert own.polishing.rate == 0.01
    assert own.runs_model
    assert own.unlabeled(100) == 10
    assert Contender.parse("regmean+polish").unlabeled(100) == 100
    assert Contender.parse("relay:prompts=64+polish").unlabeled(100) == 72
    assert Contender.parse("distill").unlabeled(100) == 40
    assert not Contender.parse("ties").runs_model
    for text in ("polish+ties", "ties+polish:pace=1", "ties+polish:steps=0", "ties+polished"):
        with pytest.raises(MergeError):
            Contender.parse(text)
