"""What a run holds in memory: small results, and nothing that the allocator could hand back."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import torch

from factories.adapters import trio
from robustmerge.engine.plan import make_plan
from robustmerge.engine.recipe import Recipe
from robustmerge.engine.run import MergeRun
from robustmerge.threads import hand_back_freed_memory, silent


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_results_that_wait_for_the_writer_are_as_small_as_in_the_file(
    dtype: str, tmp_path: Path
) -> None:
    recipe = Recipe(adapters=tuple(trio(tmp_path)), method="iso-c", rank="full", dtype=dtype)
    plan = make_plan(recipe)
    run = MergeRun(plan, workers=1)
    rank = run.rank(silent)
    for merged in run.modules(rank, silent):
        assert {merged.factors.A.dtype, merged.factors.B.dtype} == {getattr(torch, dtype)}
    plan.close()


def test_a_first_pass_hands_its_memory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []
    monkeypatch.setattr("robustmerge.engine.run.hand_back_freed_memory", lambda: calls.append(None))
    plan = make_plan(Recipe(adapters=tuple(trio(tmp_path)), method="drift"))
    MergeRun(plan, workers=1).survey(silent)
    plan.close()
    assert calls


def test_a_c_library_without_a_trim_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    hand_back_freed_memory()
