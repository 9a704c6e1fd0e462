"""A conversation as a model takes it: tokens, labels on the answers, pixels.

Tokens are those that the same text has when it is a prompt: in the vicuna format as LLaVA's own
code makes them, otherwise as the model's processor does. Answers come behind the picture, and the
end of a text has the same tokens whatever became of the picture, so that labels are found from the
end.

What is longer than `max_length` is cut behind, as in LLaVA's code; but a picture is never cut, and
some of an answer must stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from robustmerge.errors import MergeError

from ..answering.engines.encode import picture_tokens
from ..answering.images import framed, opened
from ..answering.prompts import IMAGE
from ..answering.tokens import token_ids
from .conversations import Conversation
from .wording import ConversationText, Span

IGNORED = -100
"""The label of a token that nothing is learned from."""

SEQUENCES = ("input_ids", "attention_mask", "labels", "mm_token_type_ids")
"""What has one entry for every token; everything else is of pictures."""

Example = dict[str, Tensor]


@dataclass(frozen=True)
class ConversationEncoder:
    """What makes examples of conversations.

    Attributes:
        processor: The model's; its tokenizer where it takes no pictures.
        config: The model's.
        wording: A conversation's text.
        as_llava: Tokens as LLaVA's code makes them, each piece around a picture by itself.
        max_length: Most tokens.
        mean: Color of the square that pictures are put on, 0 to 1; None for no square.
    """

    processor: Any
    config: Any
    wording: Callable[[Conversation], ConversationText]
    as_llava: bool
    max_length: int
    mean: Sequence[float] | None

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return getattr(self.processor, "tokenizer", self.processor)

    def __call__(self, conversation: Conversation) -> Example:
        """Encode a conversation, as a batch of one.

        Raises:
            MergeError: The picture cannot be read, the processor refuses it, or too much would
                have to be cut.
        """
        image = self._opened(conversation)
        try:
            return self._example(conversation, image)
        except MergeError:
            raise
        except Exception as error:  # every processor has errors of its own
            raise MergeError(
                f"the model's processor refuses the conversation: {error!r:.300}",
                where=conversation.where,
                hint="is the base a model of pictures and text, with all of its files?",
            ) from error

    def _example(self, conversation: Conversation, image: Image.Image | None) -> Example:
        worded = self.wording(conversation)
        found = (self._pieces if self.as_llava else self._whole)(worded.text, image)
        ids = found["input_ids"][0]
        labels = torch.full_like(ids, IGNORED)
        marked = self._answers(worded)
        first = next(n for n, (_, learned) in enumerate(marked) if learned)
        tail = torch.tensor([token for token, _ in marked[first:]])
        if not torch.equal(ids[-len(tail) :], tail):
            raise ValueError("its text has other tokens with a picture than without")
        learned = torch.tensor([learned for _, learned in marked[first:]])
        labels[-len(tail) :][learned] = tail[learned]
        return self._cut(conversation, found | {"labels": labels[None]})

    def _pieces(self, text: str, image: Image.Image | None) -> Example:
        """Tokens as LLaVA's code makes them, and pixels."""
        pixels: Example = {}
        mark = count = 0
        if image is not None:
            found = self.processor.image_processor(images=[image], return_tensors="pt")
            pixels = {"pixel_values": found["pixel_values"]}
            mark = self.config.image_token_id
            count = picture_tokens(self.config, pixels["pixel_values"])
        ids = torch.tensor([token_ids(self.tokenizer, text, mark, count)])
        return pixels | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def _whole(self, text: str, image: Image.Image | None) -> Example:
        """What the processor makes of it all."""
        pictures = {} if image is None else {"images": [image]}
        return dict(
            self.processor(
                text=[text],
                add_special_tokens=not self._begun(text),
                return_tensors="pt",
                **pictures,
            )
        )

    def _answers(self, worded: ConversationText) -> list[tuple[int, bool]]:
        """The tokens of the text, or of its piece behind the picture, and which are answers."""
        apart = self.as_llava and IMAGE in worded.text
        start = worded.text.rindex(IMAGE) + len(IMAGE) if apart else 0
        found = self.tokenizer(
            worded.text[start:], return_offsets_mapping=True, add_special_tokens=False
        )
        spans = [(first - start, last - start) for first, last in worded.answers]
        return [
            (token, _in_one(place, spans))
            for token, place in zip(found["input_ids"], found["offset_mapping"], strict=True)
        ]

    def _begun(self, text: str) -> bool:
        """Whether the text has the token that a tokenizer would put before it."""
        start: str | None = getattr(self.tokenizer, "bos_token", None)
        return start is not None and text.startswith(start)

    def _cut(self, conversation: Conversation, found: Example) -> Example:
        """Leave out what is too long, behind."""
        length = found["input_ids"].shape[1]
        if length <= self.max_length:
            return found
        kept = {
            name: value[:, : self.max_length] if name in SEQUENCES else value
            for name, value in found.items()
        }
        mark = getattr(self.config, "image_token_id", -1)
        cut = bool((found["input_ids"][:, self.max_length :] == mark).any())
        if cut or not (kept["labels"] != IGNORED).any():
            raise MergeError(
                f"of {length} tokens, the first {self.max_length} hold "
                f"{'not all of the picture' if cut else 'nothing of an answer'}",
                where=conversation.where,
                hint="a larger --max-length, if the model has room for it; or take the record out",
            )
        return kept

    def _opened(self, conversation: Conversation) -> Image.Image | None:
        if conversation.image is None:
            return None
        image = opened(conversation.image, conversation.where)
        return image if self.mean is None else framed(image, "pad", self.mean)


def _in_one(place: tuple[int, int], spans: Sequence[Span]) -> bool:
    """Whether some of a token is in an answer.

    A tokenizer may join the space before an answer's first word with the word.
    """
    start, end = place
    return any(first <= start < last or first < end <= last for first, last in spans)
