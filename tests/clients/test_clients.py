"""The programs themselves: hours at first, since each gets an environment; `make clients`."""

from __future__ import annotations

import json

import pytest

from clients import matrix
from clients.cases import agrees
from clients.environments import ROOT, python

pytestmark = pytest.mark.clients


def test_peft_loads_what_was_made_as_its_input_and_check_says_so() -> None:
    matrix.run("peft")
    rows = json.loads((ROOT / "work/peft/peft.json").read_text())["rows"]
    assert rows
    for *case, said, seen in rows:
        if case[4] == "as it is" and not seen.startswith("input: "):
            assert seen.startswith("as the input"), (case, seen)
        if said and not seen.startswith("input: "):
            assert agrees(said, seen), (case, said, seen)


def test_check_says_what_llama_cpp_does() -> None:
    matrix.run("llama.cpp")
    rows = json.loads((ROOT / "work/llama.cpp/llama.json").read_text())
    assert rows
    for *case, said, seen in rows:
        assert said == "–" or agrees(said, seen), (case, said, seen)


@pytest.mark.parametrize("name", ["vllm", "lmms-eval"])
def test_environments_can_be_made(name: str) -> None:
    assert python(name).is_file()
