"""Rows of tokens for the joined model: an image, a question, and the answer to be learned.

    <|im_start|>user⏎ <image> x 49 ⏎question<|im_end|>⏎<|im_start|>assistant⏎ answer<|im_end|>

That is SmolLM2's own form of a chat without its system sentence, which would cost 20 tokens a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from .tower import TOKENS

IGNORED = -100
TURN, END = "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True)
class Rows:
    """Rows of tokens, and the next token to be learned at each.

    Attributes:
        tokens: int64 [rows, length]; the image's are right after the prefix.
        labels: int64 [rows, length]; IGNORED where nothing is learned.
    """

    tokens: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Rows:
        """Return the same rows on a device."""
        return Rows(self.tokens.to(device), self.labels.to(device))


class Dialog:
    """Texts to tokens and back, by the tokenizer of the language model."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, image_token: int) -> None:
        self.tokenizer = tokenizer
        self.prefix = self._numbers(f"{TURN}user\n")
        self.image = [image_token] * TOKENS
        self.end = int(tokenizer.convert_tokens_to_ids(END))

    def _numbers(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def prompt(self, question: str) -> list[int]:
        """Return the tokens up to the answer."""
        asking = self._numbers(f"\n{question}{END}\n{TURN}assistant\n")
        return [*self.prefix, *self.image, *asking]

    def answer(self, text: str) -> list[int]:
        """Return the tokens of an answer with its end."""
        return [*self._numbers(text), self.end]

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of an answer's tokens without the end."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def collate(self, pairs: Sequence[tuple[str, str]], length: int = 0) -> Rows:
        """Return rows of questions with answers, padded on the right to a length or the longest."""
        parts = [(self.prompt(question), self.answer(answer)) for question, answer in pairs]
        length = max(length, *(len(prompt) + len(answer) for prompt, answer in parts))
        tokens = torch.full((len(parts), length), self.end)
        labels = torch.full((len(parts), length), IGNORED)
        for row, (prompt, answer) in enumerate(parts):
            end = len(prompt) + len(answer)
            tokens[row, :end] = torch.tensor(prompt + answer)
            # A token of the answer is predicted at the position before it.
            labels[row, len(prompt) - 1 : end - 1] = torch.tensor(answer)
        return Rows(tokens, labels)


def embed(model: LlavaForConditionalGeneration, tokens: Tensor, features: Tensor) -> Tensor:
    """Return the language model's inputs [rows, length, width], with projected images in them.

    Args:
        model: The joined model.
        tokens: [rows, length], with the image's tokens at the same columns of every row.
        features: The tower's standardized tokens, [rows, 49, 1728].
    """
    llava = model.model
    embedded: Tensor = llava.language_model.embed_tokens(tokens)
    start = int((tokens[0] == model.config.image_token_index).nonzero()[0, 0])
    projected = llava.multi_modal_projector(features).to(embedded)
    return torch.cat([embedded[:, :start], projected, embedded[:, start + TOKENS :]], dim=1)


def answer_scores(
    model: LlavaForConditionalGeneration, rows: Rows, features: Tensor
) -> tuple[Tensor, Tensor]:
    """Return logits and labels of the answers' tokens: [tokens, vocabulary] and [tokens]."""
    inputs = embed(model, rows.tokens, features)
    inner = model.model.language_model
    hidden = inner(inputs_embeds=inputs, use_cache=False).last_hidden_state
    learned = rows.labels != IGNORED
    scores: Tensor = model.lm_head(hidden[learned])
    return scores.float(), rows.labels[learned]


def answer_loss(model: LlavaForConditionalGeneration, rows: Rows, features: Tensor) -> Tensor:
    """Return the mean cross entropy of the answers' tokens, nats."""
    return cross_entropy(*answer_scores(model, rows, features))
