"""docs/diagnose.md says of every column what the code says."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import pytest
from docstring_parser import parse

from robustmerge.diagnosis.tables import ROWS, Diagnosis

PAGE = Path(__file__).parents[2] / "docs" / "diagnose.md"


def described(kind: type) -> dict[str, str]:
    """What docstrings say of the columns, those it inherits included."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__[:-1]):
        for column in parse(inspect.getdoc(each) or "").params:
            found[column.arg_name] = " ".join((column.description or "").split())
    return found


@pytest.mark.parametrize("name", ROWS)
def test_a_table_is_documented_as_it_is(name: str) -> None:
    kind = ROWS[name]
    said = [f"- `{f.name}`: {described(kind)[f.name]}" for f in fields(kind)]
    section = PAGE.read_text(encoding="utf-8").split(f"### {name}\n\n")[1].split("\n### ")[0]
    assert section.strip().splitlines()[2:] == said
    assert section.startswith(described(Diagnosis)[name])
