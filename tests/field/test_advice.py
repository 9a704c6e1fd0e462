"""All advice in the source: it is there, and every option and verb that it names exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from robustmerge.cli.app import run

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "src").rglob("*.py"))
VERBS = (
    *("merge", "show", "check", "export", "diagnose", "collect", "resize", "extract", "convert"),
    "methods",
)
OF_PROGRAMS = {
    *("--max-lora-rank", "--enable-tower-connector-lora"),  # vLLM
    *("--chat-template", "--lora-modules", "--enable-lora"),
    *("--include", "--local-dir"),  # hf download
}
"""Options of other programs that advice may name."""
ADVICE = {"hint", "advice"}
FINDINGS = {"fails", "note"}


def text_of(node: ast.AST) -> str:
    """The constant parts of a text."""
    return "".join(
        str(part.value) for part in ast.walk(node) if isinstance(part, ast.Constant) and part.value
    )


def advice(file: Path) -> Iterator[tuple[int, str]]:
    """Hints of errors, and the second text of a finding."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if keyword.arg in ADVICE:
                yield node.lineno, text_of(keyword.value)
        if isinstance(node.func, ast.Name) and node.func.id in FINDINGS and len(node.args) > 1:
            yield node.lineno, text_of(node.args[1])


@pytest.fixture(scope="module")
def options() -> set[str]:
    """Every option that the help of a verb names."""
    import contextlib
    import io

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        for verb in VERBS:
            assert run([verb, "--help"]) == 0
    return set(re.findall(r"--[a-z][a-z-]+", text.getvalue()))


def test_options_in_advice_exist(options: set[str]) -> None:
    named = {
        (str(file.relative_to(ROOT)), line, option)
        for file in FILES
        for line, text in advice(file)
        for option in re.findall(r"--[a-z][a-z-]+", text)
    }
    assert len(named) > 50
    assert not {each for each in named if each[2] not in options | OF_PROGRAMS}


def test_verbs_in_advice_exist() -> None:
    for file in FILES:
        for line, text in advice(file):
            for verb in re.findall(r"robustmerge (?!to\b)([a-z]+)", text):
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
