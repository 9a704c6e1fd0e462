"""Tokens and pixels of prompts with images, as the original LLaVA code makes them.

The text is cut at every <image>, and each piece is tokenized by itself. A tokenizer with a dummy
prefix, such as Llama's, therefore begins the piece after an image with a token for that prefix. A
processor that inserts the image's tokens before it tokenizes may not.

Source: tokenizer_image_token in llava/mm_utils.py of haotian-liu/LLaVA.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from robustmerge.collect.processor import ModelProcessor

from .prompts import IMAGE


def llava_inputs(
    processor: Any, config: Any, prompts: Sequence[str], images: Sequence[Any]
) -> tuple[list[list[int]], dict[str, Tensor]]:
    """Return each prompt's token ids, and the pixels of all images.

    The prompts all have one <image>, or none has. Each prompt with one has its own image.
    """
    pixels: dict[str, Tensor] = {}
    token = count = 0
    if images:
        inputs = processor.image_processor(images=images, return_tensors="pt")
        pixels = {"pixel_values": inputs["pixel_values"]}  # [images, 3, height, width]
        token, count = config.image_token_id, count_image_tokens(config, pixels["pixel_values"])
    tokenizer = ModelProcessor(processor).tokenizer
    return [token_ids(tokenizer, prompt, token, count) for prompt in prompts], pixels


def count_image_tokens(config: Any, pixels: Tensor) -> int:
    """Return how many tokens LLaVA-1.5 has for an image."""
    patch: int = config.vision_config.patch_size
    patches = (pixels.shape[-2] // patch) * (pixels.shape[-1] // patch)
    with_class: bool = config.vision_feature_select_strategy == "full"  # its class token, too
    return patches + with_class


def token_ids(tokenizer: Any, prompt: str, image_token: int, count: int) -> list[int]:
    """Return the prompt's token ids.

    The prompt has <image> where images are. Each is replaced by `count` times the id that stands
    for an image in this model.
    """
    ids: list[int] = []
    for number, piece in enumerate(prompt.split(IMAGE)):
        tokens = list(tokenizer(piece).input_ids)
        starts = bool(tokens) and tokens[0] == tokenizer.bos_token_id
        if number:
            ids += [image_token] * count
        ids += tokens[1:] if starts and number else tokens
    return ids
