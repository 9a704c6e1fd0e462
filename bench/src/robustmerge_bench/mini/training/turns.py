"""Independent questions about one image in one row of tokens.

All turns about an image are in one row of the batch, after the image, but the mask hides them from
each other: each contributes exactly what it would alone, and the image is processed once for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

IGNORED = -100

TurnTokens = tuple[Sequence[int], Sequence[int]]
"""The tokens of a question and of its answer."""


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

    def to(self, device: str | torch.device) -> Batch:
        """Return the same batch on a device."""
        fields = (self.tokens, self.turns, self.positions, self.labels)
        return Batch(*(field.to(device) for field in fields))


def lay_out(
    prefix: Sequence[int],
    examples: Sequence[Sequence[TurnTokens]],
    padding: int,
    length: int | None = None,
) -> Batch:
    """Return a row for each example: the prefix, and its turns.

    Turns that no longer fit the length are left out; without one, the longest row decides.
    """
    longest = max(sum(len(q) + len(a) for q, a in example) for example in examples)
    length = len(prefix) + longest if length is None else length
    shape = (len(examples), length)
    tokens, turns = np.full(shape, padding), np.full(shape, -1)
    positions, labels = np.zeros(shape, np.int64), np.full(shape, IGNORED)
    for row, example in enumerate(examples):
        at = len(prefix)
        tokens[row, :at], turns[row, :at] = prefix, 0
        positions[row, :at] = np.arange(at)
        for turn, (question, answer) in enumerate(example, 1):
            end = at + len(question) + len(answer)
            if end > length:
                break
            tokens[row, at:end] = [*question, *answer]
            turns[row, at:end] = turn
            positions[row, at:end] = len(prefix) + np.arange(end - at)
            # A token of the answer is predicted at the position before it.
            labels[row, end - len(answer) - 1 : end - 1] = answer
            at = end
    return Batch(*map(torch.from_numpy, (tokens, turns, positions, labels)))
