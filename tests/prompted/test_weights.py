"""Token weights against gradients of the whole model, and what groups of tokens get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from factories.families import IMAGE_TOKEN, _quiet, attach, build, inputs, save_adapter
from robustmerge.collect.model import adapted_layers
from robustmerge.prompted.answers import AnsweredTask, continued, greedy
from robustmerge.prompted.blocks import LanguageBlocks
from robustmerge.prompted.switch import SwitchedModel
from robustmerge.prompted.taps import Outputs
from robustmerge.prompted.weights import fisher, masses, prefix_length

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with _quiet():
        yield


def prepared(family: str, folder: Path) -> tuple[SwitchedModel, LanguageBlocks, AnsweredTask]:
    model = attach(build(family), save_adapter(family, folder, seed=1))
    layers = adapted_layers(model, ["default"])
    batch = inputs(family, model) | {"use_cache": False}
    other = batch | {"input_ids": batch["input_ids"].flip(1)}
    prompts = tuple(continued(each, greedy(model, each, 3)) for each in (batch, other))
    blocks = LanguageBlocks(model, list(layers), CPU)
    return SwitchedModel(model, layers, {}), blocks, AnsweredTask("default", prompts, ())


@pytest.mark.parametrize("family", ["llava", "qwen3_vl"])
def test_fisher_is_that_of_the_whole_model(family: str, tmp_path: Path) -> None:
    switched, blocks, task = prepared(family, tmp_path)
    model, layers = switched.model, switched.layers
    with switched.borrowed():
        switched.adapter("default")
        starts = [blocks.start(prompt.inputs) for prompt in task.fitted]
        calls: list[int] = []
        ours, _ = fisher(
            switched,
            blocks,
            task,
            2,
            draws=2,
            seed=7,
            starts=starts,
            done=lambda: calls.append(1),
        )
    assert len(calls) == 4  # forward and back, two blocks
    model.requires_grad_(True)
    sums: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    for number, prompt in enumerate(task.fitted):
        with Outputs(layers) as outputs:
            logits = model(**prompt.inputs).logits[0, prompt.positions]
        drawn = torch.randn(2, *logits.shape, generator=torch.Generator().manual_seed(7 + number))
        drawn -= drawn.mean(-1, keepdim=True)
        values = list(outputs.values.values())
        each = [
            torch.autograd.grad(
                (r * logits).sum(), values, retain_graph=True, materialize_grads=True
            )
            for r in drawn
        ]
        for name, gradients in zip(outputs.values, zip(*each, strict=True), strict=True):
            squares = [g[0].square().sum(-1) for g in gradients]
            sums[name].append(torch.stack(squares).sum(0))
    assert ours.keys() == sums.keys()
    for name, rows in sums.items():
        for row in rows:
            row[:2] = 0
        whole = sum(float(row.sum()) for row in rows)
        for weights, row in zip(ours[name], rows, strict=True):
            torch.testing.assert_close(weights, row / whole, rtol=1e-3, atol=1e-6)


def test_masses_are_shares_of_groups(tmp_path: Path) -> None:
    switched, blocks, task = prepared("llava", tmp_path)
    weights = masses(switched, blocks, task, 1)
    for name, rows in weights.items():
        leaf = name.rpartition(".")[2]
        assert sum(float(row.sum()) for row in rows) == pytest.approx(1)
        answers = sum(
            float(row[p.positions].sum()) for row, p in zip(rows, task.fitted, strict=True)
        )
        images = sum(
            float(row[p.inputs["input_ids"][0] == IMAGE_TOKEN].sum())
            for row, p in zip(rows, task.fitted, strict=True)
        )
        if leaf in ("k_proj", "v_proj"):
            assert (answers, images) == (pytest.approx(0.17), pytest.approx(0.65))
        elif "layers.1." in name:
            assert answers == pytest.approx(1)
        else:
            assert (answers, images) == (pytest.approx(0.92), pytest.approx(0.04))


def test_the_prefix_is_what_all_begin_with(tmp_path: Path) -> None:
    _, _, task = prepared("llava", tmp_path)
    first, second = task.fitted
    same = AnsweredTask("other", (first, first), ())
    assert prefix_length([task], frozenset()) == 1
    assert prefix_length([same, same], frozenset({IMAGE_TOKEN})) == 5  # up to the image
    shared = first.inputs["input_ids"][0], second.inputs["input_ids"][0]
    assert shared[0][0] != shared[1][0]
    assert prefix_length([same, task], frozenset()) == 1
