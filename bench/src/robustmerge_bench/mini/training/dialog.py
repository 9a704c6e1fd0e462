"""Batches for the language model: pictures with questions and answers, as numbers.

All turns on a picture stand in one row of the batch, behind the picture, but no turn sees another:
each learns exactly what it would on its own, and the picture is worked through once for all.

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
SKIPPED = 2  # places before the picture
NUMBER = {token: number for number, token in enumerate(vocabulary())}

Turns = Sequence[tuple[str, str]]  # prompts and answers


def numbers(text: str) -> list[int]:
    """The tokens of a text.

    Raises:
        KeyError: The text has a word that the vocabulary lacks.
    """
    return [NUMBER[word] for word in text.split()]


@dataclass(frozen=True)
class Batch:
    """Rows of tokens with the turn and the place of each, and what is to be said.

    All are [rows, length]; turn 0 is the picture's prefix, and -1 stands for nothing.
    """

    tokens: Tensor
    turns: Tensor
    places: Tensor
    labels: Tensor

    def mask(self, dtype: torch.dtype) -> Tensor:
        """What each token may look at, to be added to the scores: [rows, 1, length, length]."""
        ahead = torch.ones(self.turns.shape[1], self.turns.shape[1], dtype=torch.bool).triu(1)
        to, of = self.turns[:, None, :], self.turns[:, :, None]
        hidden = ahead.to(to.device) | ((to != 0) & (to != of))
        mask = torch.zeros(hidden.shape, dtype=dtype, device=to.device)
        return mask.masked_fill_(hidden, torch.finfo(dtype).min)[:, None]

    def to(self, device: str) -> Batch:
        """The same batch on a device."""
        fields = (self.tokens, self.turns, self.places, self.labels)
        return Batch(*(field.to(device) for field in fields))


def collate(examples: Sequence[Turns], length: int) -> Batch:
    """A batch of examples; turns that no longer fit the length are left out."""
    shape = (len(examples), length)
    tokens, turns = np.full(shape, NUMBER["<pad>"]), np.full(shape, -1)
    places, labels = np.zeros(shape, np.int64), np.full(shape, IGNORED)
    for row, example in enumerate(examples):
        at = len(PREFIX)
        tokens[row, :at], turns[row, :at] = [NUMBER[token] for token in PREFIX], 0
        places[row, :at] = np.arange(at)
        for turn, (prompt, answer) in enumerate(example, 1):
            asked = numbers(f"{prompt} {ASSISTANT}")
            said = numbers(f"{answer} {END}")
            end = at + len(asked) + len(said)
            if end > length:
                break
            tokens[row, at:end] = asked + said
            turns[row, at:end] = turn
            places[row, at:end] = len(PREFIX) + np.arange(end - at)
            # The token before each token of the answer is where it is to be said.
            labels[row, end - len(said) - 1 : end - 1] = said
            at = end
    return Batch(*map(torch.from_numpy, (tokens, turns, places, labels)))


def look(model: LlavaForConditionalGeneration, pictures: Tensor) -> Tensor:
    """What the vision tower makes of pictures: [n, 36, vision_width]."""
    seen: Tensor = model.model.vision_tower(pixel_values=pictures).last_hidden_state
    return seen[:, 1:]


def answer_scores(
    model: LlavaForConditionalGeneration, batch: Batch, features: Tensor
) -> tuple[Tensor, Tensor]:
    """The scores of all words wherever something is to be said, and what that is.

    Args:
        model: Any LLaVA of this benchmark, with or without adapters.
        batch: The tokens.
        features: What the tower makes of the pictures, [rows, 36, vision_width].
    """
    llava = model.model
    inner = llava.language_model
    embedded = inner.embed_tokens(batch.tokens)
    projected = llava.multi_modal_projector(features)
    start, end = SKIPPED, SKIPPED + PATCHES
    embedded = torch.cat([embedded[:, :start], projected.to(embedded), embedded[:, end:]], dim=1)
    kind = embedded.device.type
    half = torch.is_autocast_enabled(kind)
    hidden = inner(
        inputs_embeds=embedded,
        attention_mask=batch.mask(torch.get_autocast_dtype(kind) if half else embedded.dtype),
        position_ids=batch.places,
        use_cache=False,
    ).last_hidden_state
    wanted = batch.labels != IGNORED
    scores: Tensor = model.lm_head(hidden[wanted])
    return scores.float(), batch.labels[wanted]


def answer_loss(model: LlavaForConditionalGeneration, batch: Batch, features: Tensor) -> Tensor:
    """The mean cross entropy of the answers' tokens."""
    return cross_entropy(*answer_scores(model, batch, features))
