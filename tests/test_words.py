"""Names and docstrings keep the vocabulary of CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("src", "bench/src", "bench/documents", "bench/demo", "benchmarks")
FILES = [file for folder in SOURCES for file in sorted((ROOT / folder).rglob("*.py"))]

OLD_WORDS = re.compile(
    r"\b(mend(s|ed|ing)?|anew|told by|tells?|kin|heed(s|ed)?|worn|wears?|heard|loud(ness)?|faint"
    r"|nobody('s)?|fates?|hired|strangers?|trained whole|saved whole|riddles?|lacks?)\b",
    re.IGNORECASE,
)
DATA = re.compile(r'"(heard|of nobody|fates[a-z ]*|kin)"|\bheard(?=[:=])|study\.tell\(')
"""Old words that are keys of JSON files, which keep their names, or functions of a library."""

OLD_NAMES = {
    *("found", "given", "said", "there", "one", "asked", "told", "heard", "worn", "it"),
    *("place", "places"),
}
CLAUSES = (
    "What",
    "Whether",
    "How",
    "Where",
    "Which",
    "The",
    "A",
    "An",
    "All",
    "Every",
    "Each",
    "One",
)
RIDDLES = re.compile(r"^\s+\w*Error: (It|They|There|One|Its)\b", re.MULTILINE)


def short(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", FILES, ids=short)
def test_old_words_do_not_come_back(file: Path) -> None:
    lines = enumerate(DATA.sub("", file.read_text()).splitlines(), 1)
    assert not [f"{n}: {match[0]}" for n, line in lines if (match := OLD_WORDS.search(line))]


@pytest.mark.parametrize("file", FILES, ids=short)
def test_names_are_nouns(file: Path) -> None:
    tree = ast.parse(file.read_text())
    fields = {node.target for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)}
    stored = {
        node.id if isinstance(node, ast.Name) else node.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.arg)
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        if node not in fields  # dataclass fields may be keys of JSON files
    }
    assert not OLD_NAMES & stored


def functions(file: Path) -> Iterator[tuple[str, str]]:
    """Yield names and docstrings of functions that are no properties."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef):
            decorators = " ".join(ast.unparse(each) for each in node.decorator_list)
            if "property" not in decorators:
                yield node.name, ast.get_docstring(node) or ""


@pytest.mark.parametrize("file", FILES, ids=short)
def test_docstrings_are_imperative_and_name_conditions(file: Path) -> None:
    for name, docstring in functions(file):
        assert docstring.split(" ")[0] not in CLAUSES, f"{name}: {docstring.splitlines()[0]}"
        assert not RIDDLES.search(docstring), f"{name}: a Raises row names no condition"


def test_public_classes_have_names_of_their_own() -> None:
    homes = defaultdict(list)
    for file in FILES:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(short(file))
    assert not {name: files for name, files in homes.items() if len(files) > 1}
