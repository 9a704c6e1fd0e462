"""LiNeS, and where in the model a module is."""

from __future__ import annotations

import pytest
import torch

from robustmerge.depth import Depth, find_depths
from robustmerge.factors import Dense
from robustmerge.linalg import concat
from robustmerge.steps import parse
from robustmerge.testing import random_stack

ONE = Dense(torch.ones(2, 2).double())


def factor(text: str, layer: int | None, layers: int = 5) -> float:
    stack = random_stack(2, 2, (1, 1))
    return float(parse(text, "calibrate").calibrate(ONE, stack, Depth(layer, layers)).dense()[0, 0])


def test_worked_numbers() -> None:
    actual = [factor("lines:alpha=0.2,beta=0.8", layer) for layer in range(5)]
    assert actual == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_modules_outside_the_layers_and_single_layers_get_alpha() -> None:
    assert factor("lines:alpha=0.3", None) == pytest.approx(0.3)
    assert factor("lines:alpha=0.3", 0, layers=1) == pytest.approx(0.3)


def test_alpha_from_the_norms_of_sum_and_merge() -> None:
    stack = random_stack()
    merged = concat(stack).scaled(0.25)
    step = parse("lines:start=norms,beta=0", "calibrate")
    actual = step.calibrate(merged, stack, Depth(3, 4)).dense()
    torch.testing.assert_close(actual, merged.dense() * (1 / 0.25 / 3))


def test_depth_is_read_from_names() -> None:
    names = [
        "model.language_model.layers.0.mlp.up_proj",
        "model.language_model.layers.3.mlp.up_proj",
        "model.vision_tower.blocks.1.mlp.fc1",
        "lm_head",
        "model.projector.linear_1",
    ]
    actual = find_depths(names)
    assert [(d.layer, d.layers) for d in actual.values()] == [
        (0, 4),
        (3, 4),
        (1, 2),
        (None, 1),
        (None, 1),
    ]
