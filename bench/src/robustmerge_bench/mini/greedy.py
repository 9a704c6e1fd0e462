"""Greedy answers of a language model inside a LLaVA, for prompts of one length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn


def decode_greedily(model: Any, embedded: Tensor, *, end: int, longest: int) -> list[list[int]]:
    """Return the most probable tokens one by one, up to the end token or so many.

    Args:
        model: A LLaVA of transformers.
        embedded: Prompts with images in them, [n, length, width].
        end: The token that ends an answer; it is not returned.
        longest: Tokens of an answer.
    """
    inner = model.model.language_model
    cache = cache_argument(inner)
    out = inner(inputs_embeds=embedded, use_cache=True)
    answers: list[list[int]] = [[] for _ in range(len(embedded))]
    unfinished = torch.ones(len(embedded), dtype=torch.bool, device=embedded.device)
    for _ in range(longest):
        tokens = model.lm_head(out.last_hidden_state[:, -1]).argmax(-1)
        unfinished &= tokens != end
        if not unfinished.any():
            break
        for i in unfinished.nonzero()[:, 0].tolist():
            answers[i].append(int(tokens[i]))
        out = inner(
            inputs_embeds=inner.embed_tokens(tokens[:, None]),
            use_cache=True,
            **{cache: out[cache]},
        )
    return answers


def batches_of_one_length(prompts: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """Yield the numbers of prompts that have the same length, at most so many at once."""
    groups: dict[int, list[int]] = defaultdict(list)
    for number, prompt in enumerate(prompts):
        groups[len(prompt)].append(number)
    for group in groups.values():
        for start in range(0, len(group), most):
            yield group[start : start + most]


def cache_argument(model: nn.Module) -> str:
    """Return the model's name for its cache of keys and values, as an argument and in its output.

    transformers renamed `past_key_values` to `cache` in version 5.24.
    """
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"
