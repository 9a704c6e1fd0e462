"""Many conversations as one batch, for any family.

Sequences are padded on the right. Whatever belongs to pictures is put one behind the other: pixels
[pictures, 3, height, width], patches [patches, values], grids and sizes [pictures, …]. Where
pictures have unequal numbers of tiles or unequal sizes, they are filled up with zeros, which is how
processors fill up a batch of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from .conversations import Conversation
from .encoding import IGNORED, SEQUENCES, Example


class OrderedExamples(Dataset[Example]):
    """The examples of a training in their order, filled up to whole portions.

    What fills up is a repetition whose answers do not count, so that a training on many devices
    learns exactly what one on a single device does.
    """

    def __init__(
        self,
        conversations: Sequence[Conversation],
        rows: Sequence[int],
        portion: int,
        encoder: Callable[[Conversation], Example],
    ) -> None:
        """Keep what examples are made from.

        Args:
            conversations: All there are.
            rows: Which of them is seen when.
            portion: What all devices take at once.
            encoder: Makes an example of one.
        """
        self._conversations = conversations
        self._rows = rows
        self._length = -(-len(rows) // portion) * portion
        self._encoder = encoder

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        """An example; it is encoded anew each time.

        Raises:
            MergeError: As `Encoder`.
            IndexError: There is none.
        """
        if index >= self._length:
            raise IndexError(index)
        row = self._rows[index % len(self._rows)]
        example = self._encoder(self._conversations[row])
        if index >= len(self._rows):
            example["labels"] = torch.full_like(example["labels"], IGNORED)
        return example


@dataclass(frozen=True)
class Collator:
    """Makes one batch of examples.

    Attributes:
        pad_token: The token that sequences are filled up with.
    """

    pad_token: int

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Put examples together."""
        fill = {"input_ids": self.pad_token, "labels": IGNORED}
        names = dict.fromkeys(name for example in examples for name in example)
        batch: dict[str, Tensor] = {}
        for name in names:
            if name in SEQUENCES:
                parts = [e.get(name, torch.zeros_like(e["input_ids"])) for e in examples]
                batch[name] = _joined(parts, fill.get(name, 0))
            else:
                batch[name] = _joined([e[name] for e in examples if name in e], 0)
        return batch


def _joined(parts: Sequence[Tensor], value: int) -> Tensor:
    """Tensors one behind the other, all other dimensions filled up to the largest."""
    sizes = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    filled = []
    for part in parts:
        lacking = [size - has for size, has in zip(sizes, part.shape[1:], strict=True)]
        # torch names dimensions from the last, and wants what comes before and behind.
        amounts = [n for lack in reversed(lacking) for n in (0, lack)]
        filled.append(pad(part, amounts, value=value) if any(amounts) else part)
    return torch.cat(filled)
