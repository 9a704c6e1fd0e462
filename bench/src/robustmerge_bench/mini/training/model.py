"""The model: a small but genuine LLaVA, that plain transformers save, load and run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from ..world.scene import GRID, SIDE
from ..world.sprites import DOTS
from ..world.words import IMAGE

PATCHES = GRID * GRID


@dataclass(frozen=True)
class Shape:
    """How large a model is.

    Attributes:
        width: Of the language model.
        layers: Of the language model.
        mlp: Width inside the language model's MLPs.
        heads: Of attention, in both.
    """

    vision_width: int
    vision_layers: int
    width: int
    layers: int
    mlp: int
    heads: int


def build(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """Return an untrained model."""
    vision = CLIPVisionConfig(
        hidden_size=shape.vision_width,
        intermediate_size=4 * shape.vision_width,
        num_hidden_layers=shape.vision_layers,
        num_attention_heads=shape.heads,
        image_size=SIDE,
        patch_size=DOTS,
        # The usual 0.02 is meant for widths in the thousands; here it makes training crawl.
        initializer_range=0.06,
    )
    text = LlamaConfig(
        hidden_size=shape.width,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        initializer_range=0.06,
        vocab_size=len(tokenizer),
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
            image_seq_length=PATCHES,
            vision_feature_layer=-1,  # not LLaVA's -2: of four layers none is wasted
            tie_word_embeddings=True,
        )
    )


def pixels(images: Sequence[np.ndarray]) -> Tensor:
    """Return images as inputs of the model: float [n, 3, 48, 48] in -1 .. 1."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # [n, 48, 48, 3] before
    return stacked.float() / 127.5 - 1
