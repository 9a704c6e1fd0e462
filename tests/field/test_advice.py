"""All advice in the source: it is there, and every option and verb that it names exists."""

from __future__ import annotations

import ast
import re

import pytest

from field.following import COMMAND, FILES, OPTION, ROOT, advice
from robustmerge.cli.app import run

VERBS = (
    *("merge", "show", "check", "export", "diagnose", "collect", "resize", "extract", "convert"),
    *("methods", "tune"),
)
OF_PROGRAMS = {
    *("--max-lora-rank", "--enable-tower-connector-lora"),  # vLLM
    *("--chat-template", "--lora-modules", "--enable-lora"),
    *("--include", "--local-dir"),  # hf download
}
"""Options of other programs that advice may name."""


@pytest.fixture(scope="module")
def options() -> set[str]:
    """Every option that the help of a verb names."""
    import contextlib
    import io

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        for verb in VERBS:
            assert run([verb, "--help"]) == 0
    return set(OPTION.findall(text.getvalue()))


def test_options_in_advice_exist(options: set[str]) -> None:
    named = {
        (str(file.relative_to(ROOT)), line, option)
        for file in FILES
        for line, text in advice(file)
        for option in OPTION.findall(text)
    }
    assert len(named) > 50
    assert not {each for each in named if each[2] not in options | OF_PROGRAMS}


def test_verbs_in_advice_exist() -> None:
    for file in FILES:
        for line, text in advice(file):
            for verb in COMMAND.findall(text):
                assert verb in (*VERBS, "bench", "convert"), f"{file}:{line}"


def test_no_advice_is_to_train_again_alone() -> None:
    for file in FILES:
        for line, text in advice(file):
            assert not re.fullmatch(r"(re)?train( again)?\b[^;:,]*", text), f"{file}:{line} {text}"


def test_every_error_has_advice() -> None:
    without = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "MergeError"
        and not any(keyword.arg == "hint" for keyword in node.keywords)
    ]
    assert not without
