"""Prompts that share a batch in a block, and those that do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from factories.families import FAMILIES, _quiet, attach, build, inputs, save_adapter, text_inputs
from robustmerge.collect.model import adapted_layers
from robustmerge.prompted.blocks import LanguageBlocks
from robustmerge.prompted.stacks import BlockCall, BlockStart
from robustmerge.prompted.stream import Stream, bundle

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with _quiet():
        yield


def start(tokens: int, mask: Tensor | None = None, **more: Any) -> BlockStart:
    angles = torch.arange(float(tokens))[None]
    call = BlockCall((mask,), {"position_embeddings": (angles, angles), **more})
    return BlockStart(torch.zeros(1, tokens, 8), (call, call))


def test_prompts_share_a_batch_where_blocks_are_called_alike() -> None:
    mask = torch.ones(1, 1, 5, 5).tril()
    starts = [start(5, mask), start(6), start(5, mask.clone()), start(5), start(6)]
    assert bundle(starts) == ((0, 2), (1, 4), (3,))
    other = mask.clone()
    other[..., 0, 1] = 1  # an image that is read both ways
    assert bundle([start(5, mask), start(5, other)]) == ((0,), (1,))
    assert bundle([start(5, use_cache=False), start(5, use_cache=True)]) == ((0,), (1,))
    assert bundle([start(5, past=object()), start(5, past=object())]) == ((0,), (1,))
    shifted = start(5).calls[0].kwargs["position_embeddings"][0] + 1
    assert bundle([start(5), start(5, position_embeddings=(shifted, shifted))]) == ((0,), (1,))


def test_what_is_added_between_blocks_is_a_prompts_own() -> None:
    def adding(value: float) -> BlockStart:
        first, second = start(5).calls
        return replace(start(5), calls=(replace(first, added=torch.full((1, 5, 8), value)), second))

    assert bundle([adding(1.0), adding(2.0), adding(1.0)]) == ((0, 2), (1,))


def test_a_bundle_has_a_limit() -> None:
    assert bundle([start(2000)] * 5) == ((0, 1), (2, 3), (4,))
    assert bundle([start(5000)] * 2) == ((0,), (1,))


@pytest.mark.parametrize("family", FAMILIES)
def test_together_they_go_where_each_goes_alone(family: str, tmp_path: Path) -> None:
    model = attach(build(family), save_adapter(family, tmp_path / "a", seed=1))
    blocks = LanguageBlocks(model, list(adapted_layers(model, ["default"])), CPU)
    image, text = inputs(family, model), text_inputs()
    words = image["input_ids"].clone()
    words[0, -3:] = torch.tensor([4, 3, 5])
    batches = [image, {**image, "input_ids": words}]
    bundles: tuple[tuple[int, ...], ...] = ((0, 1),)
    if family != "mllama":  # It passes over its cross-attention blocks where there is no image.
        batches += [text, {**text, "input_ids": text["input_ids"].flip(1)}]
        bundles += ((2, 3),)
    starts = [blocks.start({**batch, "use_cache": False}) for batch in batches]
    together, alone = Stream.of(starts), Stream.of(starts)
    assert together.bundles == bundles
    for index in range(len(blocks)):
        together.step(blocks, index)
        replace(alone, bundles=[(i,) for i in range(len(starts))]).step(blocks, index)
    for ours, theirs in zip(together.states, alone.states, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
