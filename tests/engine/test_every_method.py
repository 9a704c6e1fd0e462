"""Every method through the engine: from adapter folders to an adapter folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import robustmerge
from factories.adapters import adapter, deltas
from robustmerge import methods
from robustmerge.engine.plan import make_plan
from robustmerge.engine.recipe import Recipe
from robustmerge.engine.run import MergeRun
from robustmerge.factors import Dense, EachModule, Noted, Stack
from robustmerge.threads import silent

METHODS = [pytest.param(m, id=m.name) for m in methods.every() if not m.needs]
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three adapters of unequal ranks and alphas, one of them rank-stabilized."""
    root = tmp_path_factory.mktemp("adapters")
    return [
        str(adapter(root / "a", seed=1, rank=4, alpha=8)),
        str(adapter(root / "b", seed=2, rank=2, alpha=2)),
        str(adapter(root / "c", seed=3, rank=3, alpha=5, use_rslora=True)),
    ]


@pytest.mark.parametrize("method", METHODS)
def test_any_number_of_workers_gives_the_same_bytes(
    method: methods.Method, folders: list[str], tmp_path: Path
) -> None:
    for workers in (1, 3):
        robustmerge.merge(
            folders, tmp_path / str(workers), method=method.name, workers=workers, seed=5
        )
    for file in (WEIGHTS, "merge.json"):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "3" / file).read_bytes()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ties", {"flavor": "paper", "space": "delta"}),
        ("pcb", {"scope": "model", "space": "delta"}),
        ("pcb", {"scope": "model", "space": "factor"}),
        ("metagpt", {"scope": "model"}),
    ],
)
def test_first_passes_do_not_depend_on_workers(
    name: str, settings: dict[str, Any], folders: list[str], tmp_path: Path
) -> None:
    for workers in (1, 3):
        robustmerge.merge(
            folders, tmp_path / str(workers), method=name, workers=workers, **settings
        )
    for file in (WEIGHTS, "merge.json"):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "3" / file).read_bytes()


def test_a_first_pass_takes_modules_side_by_side_and_in_order(folders: list[str]) -> None:
    both = Barrier(2)
    plan = make_plan(Recipe(tuple(folders), method="metagpt"))
    names: list[str] = []

    def survey(each: EachModule, parameters: Sequence[object]) -> None:
        def wait(stack: Stack) -> str:
            both.wait(timeout=20)  # for a module on another thread
            return stack.module

        names.extend(each(wait))

    plan = replace(plan, method=replace(plan.method, survey=survey))
    MergeRun(plan, workers=2).survey(silent)
    assert names == [job.name for job in plan.jobs]
    plan.close()


@pytest.mark.parametrize("method", METHODS)
def test_files_give_what_the_method_gives(
    method: methods.Method, folders: list[str], tmp_path: Path
) -> None:
    """At full rank nothing is lost on the way, if the result has low rank at all."""
    report = robustmerge.merge(
        folders, tmp_path / "out", method=method.name, rank="full", dtype="float32", scale=0.5
    )
    loaded = [robustmerge.load(folder) for folder in folders]
    stacks = [
        Stack.of(
            [opened.factors(name) for opened in loaded],
            module=name,
            scalings=tuple(opened.modules[name].scaling for opened in loaded),
        )
        for name in loaded[0].modules
    ]
    settings = method.configure({})
    surveyed: dict[str, Any] = {}
    if method.survey is not None:
        survey_result = method.survey(lambda work: map(work, stacks), [settings] * len(stacks))
        surveyed = {} if survey_result is None else {"surveyed": survey_result}
    merged = deltas(tmp_path / "out")
    for stack, line in zip(stacks, report.modules, strict=True):
        result = method(stack, **settings, **surveyed)
        update = result.update if isinstance(result, Noted) else result
        if not isinstance(update, Dense):
            assert line.energy == pytest.approx(1)
            expected = 0.5 * update.dense().double()
            torch.testing.assert_close(merged[stack.module], expected, rtol=1e-4, atol=1e-5)
    for opened in loaded:
        opened.close()


@pytest.mark.parametrize("method", METHODS)
def test_the_output_is_an_adapter_of_the_rank_asked_for(
    method: methods.Method, folders: list[str], tmp_path: Path
) -> None:
    robustmerge.merge(folders, tmp_path / "out", method=method.name, rank="energy:0.9")
    rank = json.loads((tmp_path / "out" / "merge.json").read_text())["output"]["rank"]
    tensors = load_file(tmp_path / "out" / WEIGHTS)
    assert {x.shape[0] for name, x in tensors.items() if "lora_A" in name} == {rank}
    assert all(x.isfinite().all() for x in tensors.values())
    energies = json.loads((tmp_path / "out" / "merge.json").read_text())["modules"].values()
    assert all(m["energy"] > 0.9 - 1e-6 or rank == 9 for m in energies)


def test_scale_rules_do_not_depend_on_workers(folders: list[str], tmp_path: Path) -> None:
    for workers in (1, 3):
        robustmerge.merge(
            folders,
            tmp_path / str(workers),
            method="tsv-m",
            scale="geometric-middle",
            balance="norms",
            calibrate="svc",
            workers=workers,
        )
    for file in (WEIGHTS, "merge.json"):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "3" / file).read_bytes()


def test_a_cut_that_keeps_little_energy_is_a_warning(folders: list[str], tmp_path: Path) -> None:
    """Cut a flat spectrum, in which no direction is more important than another."""
    cut = robustmerge.merge(folders, tmp_path / "cut", method="iso-c", rank=3)
    assert any("rank 3 keeps 33%" in text for text in cut.warnings)
    whole = robustmerge.merge(folders, tmp_path / "whole", method="iso-c", rank="full")
    assert not whole.warnings
