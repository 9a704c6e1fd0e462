"""Advice, and the situations in which it is given: an error's hint is tried as it is written.

A situation is a function that makes files in the current folder and returns command lines: the one
that is refused, then each that the advice leads to. `test_advice_followed.py` runs them, and fails
for advice in the source that no situation covers.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from factories.adapters import adapter
from robustmerge.cli.app import run

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "src").rglob("*.py"))
OPTION = re.compile(r"--[a-z][a-z-]+")
COMMAND = re.compile(r"robustmerge (?!to\b)([a-z]+)")
_ADVICE = {"hint", "advice"}
_FINDINGS = {"fails", "note"}

Situation: TypeAlias = Callable[[], tuple[str, ...]]

SITUATIONS: dict[str, Situation] = {}
"""By words of the advice that stand in the source and in what the command prints."""


def situation(words: str) -> Callable[[Situation], Situation]:
    """Register a situation by words of its advice."""

    def register(make: Situation) -> Situation:
        assert words not in SITUATIONS, words
        SITUATIONS[words] = make
        return make

    return register


def advice(file: Path) -> Iterator[tuple[int, str]]:
    """Hints of errors, and the second text of a finding, with the constants they are made of."""
    for node in ast.walk(_tree(file)):
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if keyword.arg in _ADVICE:
                yield node.lineno, text_of(keyword.value, _constants(file))
        if isinstance(node.func, ast.Name) and node.func.id in _FINDINGS and len(node.args) > 1:
            yield node.lineno, text_of(node.args[1], _constants(file))


def text_of(node: ast.AST, constants: Mapping[str, str]) -> str:
    """The constant parts of a text, those of named constants included."""
    parts = []
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and part.value:
            parts.append(str(part.value))
        elif isinstance(part, ast.Name):
            parts.append(constants.get(part.id, ""))
    return "".join(parts)


@cache
def _constants(file: Path) -> Mapping[str, str]:
    """The texts that a file gives names to, or imports by name."""
    texts: dict[str, str] = {}
    for node in _tree(file).body:
        if isinstance(node, ast.ImportFrom) and node.level and node.module:
            source = file.parents[node.level - 1].joinpath(*node.module.split("."))
            path = source.with_suffix(".py")
            theirs = _constants(path) if path.is_file() else {}
            texts |= {a.name: theirs[a.name] for a in node.names if a.name in theirs}
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            texts |= dict.fromkeys(names, text_of(node.value, texts))
    return texts


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def pair(**second: Any) -> None:
    """Write two adapters here, a and b, the second with these settings."""
    adapter(Path("a"))
    adapter(Path("b"), seed=1, **second)


def run_quietly(line: str) -> tuple[int, str]:
    """Run command lines here, joined by &&; return the exit code and what was printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        for each in line.split(" && "):
            verb, *words = shlex.split(each)
            if verb == "mv":
                shutil.move(*words)
            elif code := run([verb, *words]):
                return code, printed.getvalue()
    return 0, printed.getvalue()
