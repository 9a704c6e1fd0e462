"""Warnings that our own calls cause fail a test; those of libraries among themselves do not."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

LIBRARY = """
import warnings, torch

def old(stacklevel=2):
    warnings.warn("use new", FutureWarning, stacklevel=stacklevel)

def calls_old():
    old()

class Model(torch.nn.Module):
    def forward(self, x):
        old(stacklevel=3)
        return x

class Outer(torch.nn.Module):
    def forward(self, x):
        return Model()(x)

def has_a_problem():
    old(stacklevel=1)
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A library outside of the repository, one of whose functions is deprecated."""
    (tmp_path / "some_library.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(str(tmp_path))
    import some_library  # type: ignore[import-not-found]

    yield some_library
    del sys.modules["some_library"]


@pytest.mark.parametrize(
    "call",
    [
        lambda library: library.old(),
        lambda library: library.Model()(torch.zeros(1)),
        lambda library: warnings.warn("ours", UserWarning, stacklevel=1),
        lambda library: warnings.warn(DeprecationWarning("ours"), stacklevel=1),
    ],
    ids=["function", "module", "own", "instance"],
)
def test_what_we_cause_is_an_error(
    library: ModuleType, call: Callable[[ModuleType], object]
) -> None:
    with pytest.raises(Warning, match=r"use new|ours"):
        call(library)


def test_what_libraries_do_among_themselves_is_not(library: ModuleType) -> None:
    library.calls_old()
    library.has_a_problem()
    assert library.Outer()(torch.zeros(1)) == 0
