"""What errors say, and what they say of where they were met."""

from __future__ import annotations

import pytest

from robustmerge.errors import MergeError, first_line, within


@pytest.mark.parametrize(
    ("said", "line"), [("one", "one"), ("\n one\ntwo", "one"), (" \n", "OSError"), ("", "OSError")]
)
def test_an_error_of_a_library_in_one_line(said: str, line: str) -> None:
    assert first_line(OSError(said)) == line


@pytest.mark.parametrize(
    ("outer", "inner", "where"),
    [("file", "entry 2", "file\nentry 2"), ("file", "", "file"), ("", "entry 2", "entry 2")],
)
def test_places_go_from_outside_in(outer: str, inner: str, where: str) -> None:
    with pytest.raises(MergeError) as caught, within(outer):
        raise MergeError("wrong", where=inner, hint="mend it")
    error = caught.value
    assert (error.problem, error.where, error.hint) == ("wrong", where, "mend it")
