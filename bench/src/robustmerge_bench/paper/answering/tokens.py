"""Tokens of a prompt with pictures, as the original LLaVA code makes them.

The text is cut at every <image>, and each piece is a string of its own to the tokenizer. One with a
dummy prefix, such as Llama's, so begins the piece after a picture with a token for that prefix.
A processor that puts the picture's tokens in place before it tokenizes may not.

Source: tokenizer_image_token in llava/mm_utils.py of haotian-liu/LLaVA.
"""

from __future__ import annotations

from typing import Any

from .prompts import IMAGE


def token_ids(tokenizer: Any, prompt: str, image_token: int, count: int) -> list[int]:
    """The prompt's token ids.

    Args:
        tokenizer: One of transformers.
        prompt: Text with <image> where pictures are.
        image_token: The id that stands for a picture in this model.
        count: How often, for each picture.
    """
    ids: list[int] = []
    for number, piece in enumerate(prompt.split(IMAGE)):
        found = list(tokenizer(piece).input_ids)
        starts = bool(found) and found[0] == tokenizer.bos_token_id
        if number:
            ids += [image_token] * count
        ids += found[1:] if starts and number else found
    return ids
