"""Examples in their order, and many of them as one batch, for any family.

Sequences are padded on the right. Inputs that belong to images are concatenated: pixels [images, 3,
height, width], patches [patches, values], grids and sizes [images, …]. Images with unequal numbers
of tiles or unequal sizes are padded with zeros, as processors pad their own batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from torch.utils.data import Dataset

from robustmerge.collect.gradients import IGNORED

from .encoding import SEQUENCES, Example

Item = TypeVar("Item")


class OrderedExamples(Dataset[Example], Generic[Item]):
    """The examples of a training in their order, filled up to whole portions.

    Padding repeats examples without their labels, so that a training on many devices learns
    exactly what one on a single device does. `portion` is the number of examples that all devices
    get at once, `rows` the order of the items, and `encoder` makes an example as a batch of one.
    """

    def __init__(
        self,
        items: Sequence[Item],
        rows: Sequence[int],
        portion: int,
        encoder: Callable[[Item], Example],
    ) -> None:
        self._items, self._rows, self._encoder = items, rows, encoder
        self._length = -(-len(rows) // portion) * portion

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        """Encode an example."""
        if index >= self._length:
            raise IndexError(index)
        example = self._encoder(self._items[self._rows[index % len(self._rows)]])
        if index >= len(self._rows):
            example["labels"] = torch.full_like(example["labels"], IGNORED)
        return example


@dataclass(frozen=True)
class Collator:
    """Collator of examples into one padded batch."""

    pad_token: int = 0

    def __call__(self, examples: Sequence[Example]) -> Example:
        """Concatenate examples."""
        fill = {"input_ids": self.pad_token, "labels": IGNORED}
        names = dict.fromkeys(name for example in examples for name in example)
        batch: Example = {}
        for name in names:
            parts = [e[name] for e in examples if name in e]
            if name in SEQUENCES and len(parts) < len(examples):
                parts = [e.get(name, torch.zeros_like(e["input_ids"])) for e in examples]
            batch[name] = _concatenate(parts, fill.get(name, 0))
        return batch


def _concatenate(parts: Sequence[Tensor], value: int) -> Tensor:
    """Concatenate tensors, all other dimensions padded to the largest."""
    sizes = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    padded = []
    for part in parts:
        missing = [size - own for size, own in zip(sizes, part.shape[1:], strict=True)]
        # torch counts dimensions from the last, and takes amounts before and after.
        amounts = [n for count in reversed(missing) for n in (0, count)]
        padded.append(pad(part, amounts, value=value) if any(amounts) else part)
    return torch.cat(padded)


def answer_loss(
    outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """Return the answers' summed cross entropy, divided by the number of their tokens in the step.

    Logits are [batch, tokens, vocabulary], labels [batch, tokens]. `num_items_in_batch` counts the
    tokens of answers in the whole step; None stands for those of these labels.
    """
    targets = labels[:, 1:]
    learned = targets != IGNORED
    logits = outputs.logits[:, :-1][learned].float()  # [learned tokens, vocabulary]
    total = cross_entropy(logits, targets[learned], reduction="sum")
    count = learned.sum() if num_items_in_batch is None else num_items_in_batch
    return total / count
