"""Blocks one by one are the model, whatever the family; and what is found out about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from factories.families import FAMILIES, _quiet, attach, build, inputs, save_adapter
from robustmerge.collect.model import adapted_layers
from robustmerge.prompted.anatomy import STREAM, observe
from robustmerge.prompted.blocks import LanguageBlocks

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with _quiet():
        yield


@pytest.mark.parametrize("family", FAMILIES)
def test_stepping_through_the_blocks_is_a_pass_of_the_model(family: str, tmp_path: Path) -> None:
    model = attach(build(family), save_adapter(family, tmp_path / "a", seed=1))
    batch = inputs(family, model) | {"use_cache": False}
    with torch.no_grad():
        wanted = model(**batch).logits[0]
    layers = adapted_layers(model, ["default"])
    blocks = LanguageBlocks(model, list(layers), CPU)
    assert len(blocks) == 2
    start = blocks.start(batch)
    if family == "qwen3_vl":
        assert start.calls[0].added is not None
    state = start.hidden
    with torch.no_grad():
        for index in range(2):
            state = blocks.step(index, state, start.calls[index])
        torch.testing.assert_close(blocks.finish(batch, state, start), wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model(**batch).logits[0], wanted)  # nothing is left behind


@pytest.mark.parametrize("family", FAMILIES)
def test_the_anatomy_of_a_block(family: str, tmp_path: Path) -> None:
    model = attach(build(family), save_adapter(family, tmp_path / "a", seed=1))
    layers = adapted_layers(model, ["default"])
    blocks = LanguageBlocks(model, list(layers), CPU)
    start = blocks.start(inputs(family, model) | {"use_cache": False})
    anatomy = observe(blocks, 0, layers, start.hidden, start.calls[0])
    short = [[name.rpartition(".")[2] for name in each.names] for each in anatomy.sets]
    assert short == [
        ["q_proj", "k_proj", "v_proj"],
        ["o_proj"],
        ["gate_proj", "up_proj"],
        ["down_proj"],
    ]
    assert not anatomy.irregular
    residuals = [dict(each.residuals) for each in anatomy.sets]
    if family == "gemma3":  # norms stand between its modules and the stream
        assert not any(residuals)
        return
    assert [len(each) for each in residuals] == [0, 1, 0, 1]
    (o,), (down,) = residuals[1].values(), residuals[3].values()
    assert (o.before, down.after) == (STREAM, STREAM)
    assert o.after == down.before
    assert o.after.endswith("post_attention_layernorm")
