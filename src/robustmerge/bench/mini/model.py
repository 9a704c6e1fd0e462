"""The model: a small but genuine LLaVA, that plain transformers save, load and run."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from .words import IMAGE
from .world import DOTS, GRID, SIDE

PATCHES = GRID * GRID


@dataclass(frozen=True)
class Size:
    """How large a model is.

    Attributes:
        vision_width: Of the vision tower.
        vision_layers: Of the vision tower.
        width: Of the language model.
        layers: Of the language model.
        mlp: Width inside the language model's MLPs.
        heads: Of attention, in both.
        rank: Of an expert's LoRA.
    """

    vision_width: int
    vision_layers: int
    width: int
    layers: int
    mlp: int
    heads: int
    rank: int


SIZES = {
    "nano": Size(32, 2, 32, 2, 64, 2, 2),
    "mini": Size(160, 4, 256, 4, 704, 4, 4),
    "midi": Size(256, 6, 768, 8, 2048, 12, 8),
}


def build(size: Size, tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """An untrained model."""
    vision = CLIPVisionConfig(
        hidden_size=size.vision_width,
        intermediate_size=4 * size.vision_width,
        num_hidden_layers=size.vision_layers,
        num_attention_heads=size.heads,
        image_size=SIDE,
        patch_size=DOTS,
        # The usual 0.02 is meant for widths in the thousands; here it makes training crawl.
        initializer_range=0.06,
    )
    text = LlamaConfig(
        hidden_size=size.width,
        intermediate_size=size.mlp,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
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
