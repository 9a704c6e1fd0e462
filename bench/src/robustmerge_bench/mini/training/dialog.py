"""Batches for the language model: images with questions and answers, as tokens.

<s> USER: <image> x 36 | question ASSISTANT: answer </s> | question ASSISTANT: answer </s> | ...
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration

from ..world.words import ASSISTANT, END, IMAGE, START, USER, vocabulary
from .model import PATCHES
from .turns import IGNORED, Batch, lay_out

PREFIX = (START, USER, *(IMAGE,) * PATCHES)
SKIPPED = 2  # tokens before the image
NUMBER = {token: number for number, token in enumerate(vocabulary())}

Turns = Sequence[tuple[str, str]]  # prompts and answers


def numbers(text: str) -> list[int]:
    """Return the tokens of a text.

    Raises:
        KeyError: A word of the text is not in the vocabulary.
    """
    return [NUMBER[word] for word in text.split()]


def collate(examples: Sequence[Turns], length: int) -> Batch:
    """Return a batch of examples; turns that no longer fit the length are left out."""
    rows = [
        [(numbers(f"{prompt} {ASSISTANT}"), numbers(f"{answer} {END}")) for prompt, answer in turns]
        for turns in examples
    ]
    return lay_out([NUMBER[token] for token in PREFIX], rows, NUMBER["<pad>"], length)


def look(model: LlavaForConditionalGeneration, images: Tensor) -> Tensor:
    """Return the vision tower's features of images: [n, 36, vision_width]."""
    features: Tensor = model.model.vision_tower(pixel_values=images).last_hidden_state
    return features[:, 1:]  # without the class token


def answer_scores(
    model: LlavaForConditionalGeneration, batch: Batch, features: Tensor
) -> tuple[Tensor, Tensor]:
    """Return logits and labels of the answers' tokens: [tokens, vocabulary] and [tokens].

    Features are the tower's, [rows, 36, vision_width].
    """
    llava = model.model
    inner = llava.language_model
    embedded = inner.embed_tokens(batch.tokens)
    projected = llava.multi_modal_projector(features)  # [rows, 36, width]
    start, end = SKIPPED, SKIPPED + PATCHES
    embedded = torch.cat([embedded[:, :start], projected.to(embedded), embedded[:, end:]], dim=1)
    device = embedded.device.type
    half = torch.is_autocast_enabled(device)
    hidden = inner(
        inputs_embeds=embedded,
        attention_mask=batch.mask(torch.get_autocast_dtype(device) if half else embedded.dtype),
        position_ids=batch.positions,
        use_cache=False,
    ).last_hidden_state
    learned = batch.labels != IGNORED
    scores: Tensor = model.lm_head(hidden[learned])
    return scores.float(), batch.labels[learned]


def answer_loss(model: LlavaForConditionalGeneration, batch: Batch, features: Tensor) -> Tensor:
    """Return the mean cross entropy of the answers' tokens."""
    return cross_entropy(*answer_scores(model, batch, features))
