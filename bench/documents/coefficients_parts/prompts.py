"""Prompts of tasks as inputs of the language model, in rows of one length.

    <s> USER: image … ASSISTANT: pad pad      tokens before the padding never see it
                      ^ last

The prompt's last token predicts the first one of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustmerge_bench.item import Item
from robustmerge_bench.mini.student import MiniModel
from robustmerge_bench.mini.training.dialog import NUMBER, PREFIX, SKIPPED, numbers
from robustmerge_bench.mini.training.model import PATCHES
from robustmerge_bench.mini.world.words import ASSISTANT, PAD


@dataclass(frozen=True)
class PromptRows:
    """Prompts with their images, embedded.

    Attributes:
        embedded: Inputs of the language model [row, token, width].
        last: The position of each prompt's last token [row].
        tasks: The number of each row's task [row].
    """

    embedded: Tensor
    last: Tensor
    tasks: Tensor

    @property
    def tokens(self) -> Tensor:
        """Whether a position is one of the prompt's [row, token]."""
        return torch.arange(self.embedded.shape[1]) <= self.last[:, None]

    @property
    def newest(self) -> Tensor:
        """Whether a position is the prompt's last token [row, token]."""
        return torch.arange(self.embedded.shape[1]) == self.last[:, None]

    def rows(self, numbers: Sequence[int]) -> PromptRows:
        """Return some of the rows, without padding that none of them needs."""
        last = self.last[list(numbers)]
        embedded = self.embedded[list(numbers), : int(last.max()) + 1]
        return PromptRows(embedded, last, self.tasks[list(numbers)])

    def at_last(self, hidden: Tensor) -> Tensor:
        """Return the states [row, width] at the prompts' last tokens of all [row, token, width]."""
        return hidden[torch.arange(len(hidden)), self.last]


@torch.no_grad()
def embed(model: MiniModel, items: Sequence[Sequence[Item]]) -> PromptRows:
    """Embed the items of every task, by the projector that the model has now."""
    flat = [item for some in items for item in some]
    prompts = [numbers(f"{item.prompt} {ASSISTANT}") for item in flat]
    longest = max(map(len, prompts))
    padded = [prompt + [NUMBER[PAD]] * (longest - len(prompt)) for prompt in prompts]
    prefix = [NUMBER[token] for token in PREFIX]
    llava = model.model.model
    embedded = llava.language_model.embed_tokens(torch.tensor([prefix + row for row in padded]))
    projected = llava.multi_modal_projector(model.features(flat))  # [row, patch, width]
    embedded[:, SKIPPED : SKIPPED + PATCHES] = projected
    last = torch.tensor([len(prefix) + len(prompt) - 1 for prompt in prompts])
    tasks = torch.tensor([task for task, some in enumerate(items) for _ in some])
    return PromptRows(embedded, last, tasks)
