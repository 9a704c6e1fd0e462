"""Rows of tokens for the joined model: an image, questions, and the answers to be learned.

    <|im_start|>user⏎ <image> x 49 | ⏎question<|im_end|>⏎<|im_start|>assistant⏎ answer<|im_end|> | …

That is SmolLM2's own form of a chat without its system sentence, which would cost 20 tokens a row.
Several questions about one image share its tokens, and do not see each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from ...item import Item
from ...mini.training.turns import IGNORED, Batch, TurnTokens, lay_out
from .tower import TOKENS

TURN, END = "<|im_start|>", "<|im_end|>"


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
        return [*self.prefix, *self.image, *self._question(question)]

    def _question(self, text: str) -> list[int]:
        return self._numbers(f"\n{text}{END}\n{TURN}assistant\n")

    def answer(self, text: str) -> list[int]:
        """Return the tokens of an answer with its end."""
        return [*self._numbers(text), self.end]

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of an answer's tokens without the end."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def turns(self, items: Sequence[Item]) -> list[TurnTokens]:
        """Return the questions about an image, with the answers, as tokens."""
        return [(self._question(item.prompt), self.answer(item.answer)) for item in items]

    def collate(self, examples: Sequence[Sequence[Item]]) -> Batch:
        """Return a row for each image, of the questions about it; padded on the right."""
        rows = [self.turns(items) for items in examples]
        return lay_out([*self.prefix, *self.image], rows, self.end)


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
    model: LlavaForConditionalGeneration, batch: Batch, features: Tensor
) -> tuple[Tensor, Tensor]:
    """Return logits and labels of the answers' tokens: [tokens, vocabulary] and [tokens].

    Under autocast, what flows between layers has its type, too.
    """
    inputs = embed(model, batch.tokens, features)
    device = inputs.device.type
    if torch.is_autocast_enabled(device):
        inputs = inputs.to(torch.get_autocast_dtype(device))
    hidden = model.model.language_model(
        inputs_embeds=inputs,
        attention_mask=batch.mask(inputs.dtype),
        position_ids=batch.positions,
        use_cache=False,
    ).last_hidden_state
    learned = batch.labels != IGNORED
    scores: Tensor = model.lm_head(hidden[learned])
    return scores.float(), batch.labels[learned]


def answer_loss(
    model: LlavaForConditionalGeneration, parts: Sequence[tuple[Batch, Tensor]]
) -> Tensor:
    """Return the mean cross entropy of the answers' tokens, nats, over batches with features."""
    scores, labels = zip(*(answer_scores(model, *part) for part in parts), strict=True)
    return cross_entropy(torch.cat(scores), torch.cat(labels))
