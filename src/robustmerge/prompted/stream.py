"""Prompts on their way through the blocks; those that blocks are called alike for go together.

Prompts of one length, with the same masks and angles, differ in their hidden states alone, so that
a block takes them as one batch, without padding and whatever the family. Others are batches of one,
and so are prompts of a tower that takes their images as a batch, or without any batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .stacks import BlockStack, BlockStart

_MOST = 4096
"""Tokens of a bundle: as many as seven prompts with an image of LLaVA-1.5."""

Bundle = tuple[int, ...]
"""Numbers of prompts that go together."""


@dataclass(frozen=True)
class Stream:
    """Hidden states of prompts on their way through the blocks, on the host or on disk.

    Attributes:
        states: The next block's input of every prompt. [1, tokens, width], or what a tower has
        starts: What the blocks are called with.
        bundles: The prompts that go through a block together.
    """

    states: list[Tensor]
    starts: Sequence[BlockStart]
    bundles: Sequence[Bundle]

    @classmethod
    def of(cls, starts: Sequence[BlockStart]) -> Stream:
        """Begin at the first block."""
        return cls([start.hidden for start in starts], starts, bundle(starts))

    def stacked(self, members: Bundle) -> Tensor:
        """Return the states of some prompts: [prompt, tokens, width], of one as they are."""
        return torch.cat([self.states[i] for i in members])

    @torch.no_grad()
    def step(self, blocks: BlockStack, index: int) -> None:
        """Take all states through a block."""
        for members in self.bundles:
            call = self.starts[members[0]].calls[index]
            states = blocks.keep(blocks.step(index, self.stacked(members), call))
            each = torch.split(states, len(states) // len(members))
            for i, state in zip(members, each, strict=True):
                self.states[i] = state


def bundle(starts: Sequence[BlockStart]) -> tuple[Bundle, ...]:
    """Group prompts whose blocks are called alike.

    Args:
        starts: Every prompt at the first block.
    """
    alike: dict[bytes | int, list[list[int]]] = {}
    for number, start in enumerate(starts):
        alone = start.hidden.ndim != 3 or len(start.hidden) != 1
        groups = alike.setdefault(number if alone else _fingerprint(start), [[]])
        if (len(groups[-1]) + 1) * start.hidden.shape[1] > _MOST and groups[-1]:
            groups.append([])
        groups[-1].append(number)
    return tuple(tuple(group) for groups in alike.values() for group in groups)


def _fingerprint(start: BlockStart) -> bytes:
    """Return a hash of everything that blocks are called with, but for the hidden states."""
    digest, seen = hashlib.sha256(repr(start.hidden.shape).encode()), dict[int, int]()
    for call in start.calls:
        for part in _parts((call.args, dict(call.kwargs), call.added)):
            if isinstance(part, Tensor):
                # Blocks share their masks and angles: each tensor is read once.
                number = seen.setdefault(id(part), len(seen))
                digest.update(f"{number} {part.dtype} {tuple(part.shape)}".encode())
                if number == len(seen) - 1:
                    digest.update(part.detach().double().contiguous().numpy().tobytes())
            else:
                digest.update(_text(part).encode())
    return digest.digest()


def _parts(value: Any) -> Iterator[Any]:
    """Yield what nested tuples, lists and dictionaries hold, with the keys."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _parts(each)
    elif isinstance(value, tuple | list):
        yield len(value)
        for each in value:
            yield from _parts(each)
    else:
        yield value


def _text(value: Any) -> str:
    """Return a plain value as text; any other object is only equal to itself."""
    plain = value is None or isinstance(value, bool | int | float | str)
    return f"{type(value).__name__} {value!r}" if plain else f"{type(value).__name__} {id(value)}"
