"""The joined model at random weights: it is saved and loaded exactly, and its tower stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlavaForConditionalGeneration

from robustmerge_bench.midi.training.build import join, scale_projector
from robustmerge_bench.midi.training.tower import LiteTower, LiteTowerConfig, pixels

STAGES = ((1, 3, 1, 1, 8), (1, 3, 2, 2, 8), (1, 5, 2, 2, 8), (1, 3, 2, 2, 8), (1, 5, 2, 2, 16))


def small() -> LlavaForConditionalGeneration:
    """Two layers of language, five stages of vision: 7 x 7 tokens of 24 + 32 channels."""
    torch.manual_seed(0)
    text = LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=True,
    )
    return join(text, LiteTowerConfig(STAGES, head=24, middle=3), image_token=39).eval()


def images(count: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return pixels([rng.integers(0, 256, (224, 224, 3), dtype=np.uint8) for _ in range(count)])


@pytest.fixture
def model() -> LlavaForConditionalGeneration:
    return small()


def test_it_is_saved_and_loaded_exactly(
    model: LlavaForConditionalGeneration, tmp_path: Path
) -> None:
    tower = model.model.vision_tower
    assert isinstance(tower, LiteTower)
    tower.mean.copy_(torch.linspace(0, 1, 56))
    tower.spread.copy_(torch.linspace(1, 2, 56))
    model.save_pretrained(tmp_path)
    again = LlavaForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    tokens = torch.tensor([[39] * 49 + [1, 2, 3]] * 2)
    scores = [m(input_ids=tokens, pixel_values=images(2)).logits for m in (model, again)]
    torch.testing.assert_close(*scores)


def test_an_image_changes_what_follows_it(model: LlavaForConditionalGeneration) -> None:
    tokens = torch.tensor([[39] * 49 + [1, 2, 3]] * 2)
    first, second = model(input_ids=tokens, pixel_values=images(2)).logits[:, -1]
    assert not torch.allclose(first, second)


def test_the_tower_stays_in_evaluation_mode(model: LlavaForConditionalGeneration) -> None:
    before = model.model.vision_tower.raw(images(1))
    model.train()
    assert torch.equal(model.model.vision_tower.raw(images(1)), before)


def test_projected_tokens_are_as_large_as_words(model: LlavaForConditionalGeneration) -> None:
    scale_projector(model)
    probe = torch.randn(500, 56, generator=torch.Generator().manual_seed(1))
    size = float(model.model.multi_modal_projector(probe).detach().std())
    assert size == pytest.approx(
        float(model.get_input_embeddings().weight.detach().std()), rel=0.15
    )
