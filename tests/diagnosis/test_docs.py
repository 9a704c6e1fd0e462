"""docs/diagnose.md documents every column and every sentence as the code does."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest
from docstring_parser import parse

from robustmerge.diagnosis.tables import ROWS, TITLES, Diagnosis
from robustmerge.diagnosis.verdict_texts import SENTENCES

PAGE = Path(__file__).parents[2] / "docs" / "diagnose.md"


def read_section(name: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    return text.split(f"### {name}\n\n")[1].split("\n### ")[0].strip()


def describe_columns(kind: type) -> dict[str, str]:
    """Return the descriptions of a row's columns in docstrings, inherited ones included."""
    columns: dict[str, str] = {}
    for each in reversed(kind.__mro__[:-1]):
        for column in parse(inspect.getdoc(each) or "").params:
            columns[column.arg_name] = " ".join((column.description or "").split())
    return columns


@pytest.mark.parametrize("name", ROWS)
def test_a_table_is_documented_as_it_is(name: str) -> None:
    kind = ROWS[name]
    rows = [f"- `{f.name}`: {describe_columns(kind)[f.name]}" for f in fields(kind)]
    section = read_section(name).splitlines()
    assert section[2:] == rows
    assert section[0] == f"**{TITLES[name]}.** {describe_columns(Diagnosis)[name]}"


def test_every_sentence_is_documented_as_it_is() -> None:
    texts = {code: re.sub(r"\{(\w+):[^}]*\}", r"{\1}", s.text) for code, s in SENTENCES.items()}
    rows = [f"- `{code}` ({SENTENCES[code].level}): {text}" for code, text in texts.items()]
    assert read_section("verdict").splitlines()[2:] == rows


def test_every_table_has_a_title() -> None:
    assert list(TITLES) == list(ROWS)
