"""Batches for the language model: images with questions and answers, as tokens.

All turns about an image are in one row of the batch, after the image, but the mask hides them from
each other: each contributes exactly what it would alone, and the image is processed once for all.

    <s> USER: <image> x 36 | question ASSISTANT: answer </s> | question ASSISTANT: answer </s> | ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration

from ..world.words import ASSISTANT, END, IMAGE, START, USER, vocabulary
from .model import PATCHES

IGNORED = -100
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


@dataclass(frozen=True)
class Batch:
    """Rows of tokens with the turn and position of each, and the next token to be learned.

    All are [rows, length]; turn 0 is the image's prefix, and -1 is padding.
    """

    tokens: Tensor
    turns: Tensor
    positions: Tensor
    labels: Tensor

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Return what is added to attention scores: [rows, 1, length, length]."""
        ahead = torch.ones(self.turns.shape[1], self.turns.shape[1], dtype=torch.bool).triu(1)
        to, of = self.turns[:, None, :], self.turns[:, :, None]
        hidden = ahead.to(to.device) | ((to != 0) & (to != of))
        mask = torch.zeros(hidden.shape, dtype=dtype, device=to.device)
        return mask.masked_fill_(hidden, torch.finfo(dtype).min)[:, None]

    def to(self, device: str) -> Batch:
        """Return the same batch on a device."""
        fields = (self.tokens, self.turns, self.positions, self.labels)
        return Batch(*(field.to(device) for field in fields))


def collate(examples: Sequence[Turns], length: int) -> Batch:
    """Return a batch of examples; turns that no longer fit the length are left out."""
    shape = (len(examples), length)
    tokens, turns = np.full(shape, NUMBER["<pad>"]), np.full(shape, -1)
    positions, labels = np.zeros(shape, np.int64), np.full(shape, IGNORED)
    for row, example in enumerate(examples):
        at = len(PREFIX)
        tokens[row, :at], turns[row, :at] = [NUMBER[token] for token in PREFIX], 0
        positions[row, :at] = np.arange(at)
        for turn, (prompt, answer) in enumerate(example, 1):
            question = numbers(f"{prompt} {ASSISTANT}")
            reply = numbers(f"{answer} {END}")
            end = at + len(question) + len(reply)
            if end > length:
                break
            tokens[row, at:end] = question + reply
            turns[row, at:end] = turn
            positions[row, at:end] = len(PREFIX) + np.arange(end - at)
            # A token of the answer is predicted at the position before it.
            labels[row, end - len(reply) - 1 : end - 1] = reply
            at = end
    return Batch(*map(torch.from_numpy, (tokens, turns, positions, labels)))


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
