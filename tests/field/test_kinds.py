"""Every file of this folder has a kind, and so has every test that is named apart."""

from __future__ import annotations

import ast
from pathlib import Path

from field.kinds import FILES, KINDS, TESTS

OWN = "test_kinds"


def test_every_file_has_a_kind() -> None:
    files = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    assert files == {*FILES, OWN}
    assert {*FILES.values(), *TESTS.values()} == set(KINDS)


def test_tests_of_another_kind_are_there() -> None:
    trees = {name: ast.parse(Path(__file__).with_name(f"{name}.py").read_text()) for name in FILES}
    tests = {
        node.name: FILES[file]
        for file, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    assert set(TESTS) <= set(tests)
    assert not [name for name, kind in TESTS.items() if tests[name] == kind]
