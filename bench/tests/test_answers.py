"""Short answers: exact match, lettered choice, VQA accuracy."""

from __future__ import annotations

import doctest
import pkgutil
import string
from importlib import import_module

import pytest
from hypothesis import given, strategies as st

from robustmerge.errors import MergeError
from robustmerge_bench import metrics
from robustmerge_bench.metrics import exact, exact_match, letter_match, vqa, vqa_accuracy
from robustmerge_bench.metrics.letter import letter

TEXT = st.text(max_size=12)
NAMES = ["metrics." + part.name for part in pkgutil.iter_modules(metrics.__path__)] + [
    "results.comparison"
]


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_docstrings(name: str) -> None:
    module = import_module(f"robustmerge_bench.{name}")
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("answer", ["red car", "Red Car", " red\t car \n", "red car.", "RED CAR ."])
def test_the_same_words_match(answer: str) -> None:
    assert exact_match(answer, ("a bus", "Red car")) == 100


@pytest.mark.parametrize(
    "answer", ["redcar", "red cars", "red car..", "a red car", "red, car", "red car!", "car"]
)
def test_other_words_do_not(answer: str) -> None:
    assert exact_match(answer, ("red car",)) == 0


@pytest.mark.parametrize("answer", ["", " ", ".", " . "])
def test_an_empty_answer_is_wrong_even_for_an_empty_reference(answer: str) -> None:
    assert exact_match(answer, ("", ".", "red")) == 0
    assert vqa_accuracy(answer, ("",) * 10) == 0


@given(TEXT, TEXT)
def test_exact_match_is_symmetric_and_certain_of_itself(a: str, b: str) -> None:
    assert exact_match(a, (b,)) == exact_match(b, (a,))
    assert exact_match(a, (b, a)) == (100 if exact.normalized(a) else 0)


@pytest.mark.parametrize(
    "answer",
    [
        "B", "b", " B ", "B.", "B:", "b.", "(B)", "(b)", "[B]", "B)", "(B).", "B. a cat",
        "B) a cat",
        "B: a cat", "(B) a cat", "[B] a cat", "The answer is B", "The answer is B.",
        "the answer is: B",
        "Answer: B", "answer: (B)", "The answer is (B) a cat.", "So the answer is B, a cat.",
        "B. The answer is B.", "The correct answer is B",
    ],
)  # fmt: skip
def test_the_letter_is_found(answer: str) -> None:
    assert letter(answer) == "B"
    assert letter_match(answer, ("B",)) == 100
    assert letter_match(answer, ("A", "C")) == 0


@pytest.mark.parametrize(
    "answer",
    [
        "", ".", "()", "BB", "AB", "A cat", "I think so", "a cat", "a cat.", "cat", "A or B",
        "A, B",
        "The answer is A cat", "The answer is a cat.", "The answer is a.", "the answer is",
        "A. The answer is B.", "The answer is A. The answer is B.", "Answer", "1", "A.B", "É",
    ],
)  # fmt: skip
def test_no_letter_is_found(answer: str) -> None:
    assert letter(answer) is None
    assert letter_match(answer, tuple(string.ascii_uppercase)) == 0


@given(st.text(alphabet="ABab().[]: isanwer", max_size=12))
def test_a_letter_found_is_in_the_answer(answer: str) -> None:
    assert letter(answer) in {None, *answer.upper()}


@pytest.mark.parametrize("reference", ["", "b", "AB", "B.", "1"])
def test_a_reference_must_be_a_letter(reference: str) -> None:
    with pytest.raises(MergeError, match="the right option is"):
        letter_match("B", ("A", reference))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  two dogs, on a mat.", "2 dogs on mat"),
        ("none", "0"),
        ("Ten", "10"),
        ("eleven", "eleven"),
        ("an", ""),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        (".5", ".5"),
        ("5.", "5"),
        ("yes!", "yes"),
        ("red/blue", "red blue"),
        ("red / blue-green/x", "red blue greenx"),  # a slash touches a space, no hyphen does
        ("well-known - yes", "wellknown yes"),
        ("red-ish/-blue", "red ish blue"),  # nor does the space that a slash became count
        ("red-ish-/blue", "red ish blue"),
        ("dont", "don't"),
        ("shouldnt've", "shouldn't've"),
        ("shouldn'tve", "shouldn't've"),
        ("shouldntve", "shouldntve"),
        ("the man's", "man 's"),
        ("somebody'd", "somebodyd"),
        ("a\nb\tc", "b c"),
        ("50%", "50%"),
        ("10:30", "10:30"),
        ("what?", "what"),
        ('"stop"', "stop"),
    ],
)
def test_the_servers_rules(text: str, normal: str) -> None:
    assert vqa.normalized(text) == normal


@pytest.mark.parametrize(
    ("same", "score"), [(0, 0), (1, 30), (2, 60), (3, 90), (4, 100), (10, 100)]
)
def test_vqa_accuracy_of_ten_people(same: int, score: float) -> None:
    """Leaving out one of n who agree leaves n - 1: of 3, (3 · 2/3 + 7 · 1) / 10."""
    people = ("Blue.",) * same + ("red", "green") * 5
    assert vqa_accuracy("the blue", people[:10]) == pytest.approx(score)


@given(st.lists(st.sampled_from("abcd"), min_size=4, max_size=12), st.sampled_from("bcde"))
def test_vqa_accuracy_by_its_definition(people: list[str], answer: str) -> None:
    left_out = []
    for i in range(len(people)):
        others = people[:i] + people[i + 1 :]
        left_out.append(min(1, others.count(answer) / 3))
    expected = 100 * sum(left_out) / len(left_out)
    assert vqa_accuracy(answer, tuple(people)) == pytest.approx(expected)


def test_too_few_people() -> None:
    with pytest.raises(MergeError, match="from 3 references"):
        vqa_accuracy("red", ("red",) * 3)
