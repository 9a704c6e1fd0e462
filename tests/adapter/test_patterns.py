"""Patterns of settings match what Python's own matcher says, and never take forever."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, strategies as st

from robustmerge.adapter import patterns
from robustmerge.adapter.patterns import match_ends, matches, matches_whole

ENDLESS = [
    ("(a+)+b", "a" * 60),
    ("(a*)*b", "a" * 60),
    ("(a|a)*b", "a" * 60),
    ("(a|aa)+b", "a" * 60),
    ("(.*a){20}b", "a" * 60),
    ("(a?){50}a{50}b", "a" * 60),
    (r"(\w+\s?)*:", "a" * 60),
    ("((((((a+)+)+)+)+)+)+b", "a" * 60),
    (r"(.*)*\.(.*)*\.(.*)*x", "a." * 40),
    ("(?=(a+)+b)a", "a" * 60),
    (".*.*.*.*.*.*b", "a" * 200),
    ("".join(f"(x{n}|.)*" for n in range(40)) + "b", "a" * 60),
]
"""Patterns that Python's matcher tries for years on these texts."""

REAL = [
    r"^(model\.language_model(?=\.).*\.(q_proj|k_proj|v_proj))$",  # ms-swift
    r"^(?!.*visual).*(?:q_proj|v_proj|o_proj).*",  # LLaMA-Factory, towers frozen
    r".*language_model.*\.(up_proj|down_proj|gate_proj)",
    r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|down_proj).*?)",  # Unsloth
    r"model\.layers\.(?:[0-9]|1[0-5])\.self_attn\.q_proj",
    r"(?i)MODEL.*Q_PROJ",
    r".*\.\d+\.mlp\b.*",
]
NAMES = [
    "model.language_model.layers.10.self_attn.q_proj",
    "model.layers.3.self_attn.q_proj",
    "model.visual.blocks.3.attn.qkv",
    "model.language_model.layers.0.mlp.down_proj",
    "lm_head",
    "",
    "q_proj\n",
]

atoms = st.sampled_from(
    [
        *("a", "b", ".", r"\.", "[ab]", "[^a]", r"\d", r"\W", "^", "$", r"\b", "()"),
        "[a-c1]",
        "(?:a|b)",
    ]
)
counts = st.sampled_from(["", "", "*", "+", "?", "*?", "+?", "{2}", "{0,2}", "{1,}"])
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, counts).map(lambda p: f"(?:{p[0]}){p[1]}"),
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join).map("({})".format),
        inner.map("(?={})".format),
        inner.map("(?!{})".format),
        inner.map("(?i:{})".format),
    ),
    max_leaves=6,
)


@given(pattern=expressions, text=st.text("abA1.\n", max_size=6))
def test_any_pattern_matches_as_python_says(pattern: str, text: str) -> None:
    assert matches(pattern, text) == (re.match(pattern, text) is not None)
    assert matches_whole(pattern, text) == (re.fullmatch(pattern, text) is not None)
    shortest = re.match(pattern, text)
    assert shortest is None or shortest.end() in match_ends(pattern, text)


@pytest.mark.parametrize("pattern", REAL)
@pytest.mark.parametrize("name", NAMES)
def test_patterns_of_trainers(pattern: str, name: str) -> None:
    assert matches_whole(pattern, name) == (re.fullmatch(pattern, name) is not None)
    wrapped = rf"(.*\.)?({pattern.removeprefix('(?i)')})$"
    assert matches(wrapped, name) == (re.match(wrapped, name) is not None)


@pytest.mark.parametrize(("pattern", "text"), ENDLESS)
def test_patterns_that_never_end(pattern: str, text: str) -> None:
    started = time.perf_counter()
    assert not matches(rf"(.*\.)?({pattern})$", text)
    assert not matches_whole(pattern, text)
    assert time.perf_counter() - started < 20  # a second at most on an idle machine


@pytest.mark.parametrize("pattern", ["(", "(a)(?=", r"(a)\1", "a" * 200_000, "(a)(?(1)b|c)"])
def test_patterns_that_are_refused(pattern: str) -> None:
    with pytest.raises(re.error):
        matches(pattern, "a")


def test_steps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_MOST_STEPS", 1000)
    with pytest.raises(re.error, match="steps"):
        matches("(.*a){9}b", "a" * 900)


def test_a_thousand_names_are_quick() -> None:
    """A pattern for every module, as AdaLoRA's ranks or rank_pattern of a search have it."""
    names = [f"model.layers.{n}.self_attn.q_proj" for n in range(200)]
    started = time.perf_counter()
    for name in names:
        assert next(n for n in names if matches(rf"(.*\.)?({n})$", name)) == name
    assert time.perf_counter() - started < 20
