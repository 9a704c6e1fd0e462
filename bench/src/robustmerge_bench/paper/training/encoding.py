"""Conversations as tokens, pixels, and labels on the answers.

Tokens are those that the same text has as a prompt: in the vicuna format those of LLaVA's own
code, otherwise those of the model's processor. Answers come after the image, and the end of a text
has the same tokens with or without the image, so labels are located from the end.

What is longer than `max_length` is cut at the end, as in LLaVA's code; but an image is never cut,
and some of an answer must stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor

from robustmerge.collect.gradients import IGNORED
from robustmerge.collect.load import load_processor
from robustmerge.collect.processor import ModelProcessor, open_image, processor_errors
from robustmerge.errors import MergeError
from robustmerge.files import expand_user

from ..answering.family import is_llava_15, prompt_for, settings_of
from ..answering.images import frame_image
from ..answering.prompts import IMAGE
from ..answering.tokens import llava_inputs
from .conversations import Conversation
from .recipe import TrainingRecipe
from .wording import ConversationText, Span, Template, vicuna

SEQUENCES = ("input_ids", "attention_mask", "labels", "mm_token_type_ids")
"""Inputs with one entry for every token; all others belong to images."""

Example = dict[str, Tensor]


@dataclass(frozen=True)
class ConversationEncoder:
    """Encoder of conversations as examples.

    Attributes:
        processor: The model's; its tokenizer where it takes no images.
        as_llava: Tokens as in LLaVA's code, each piece around an image by itself.
        max_length: Most tokens.
        mean: Color of the square that images are put on, 0 to 1; None for no square.
    """

    processor: Any
    config: Any
    wording: Callable[[Conversation], ConversationText]
    as_llava: bool
    max_length: int
    mean: Sequence[float] | None

    @property
    def model(self) -> ModelProcessor:
        """The processor, called the same way for every family."""
        return ModelProcessor(self.processor)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return self.model.tokenizer

    @property
    def pad_token(self) -> int:
        """The token that sequences are padded with, which the attention mask hides."""
        tokens = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return next(token for token in tokens if token is not None)

    def __call__(self, conversation: Conversation) -> Example:
        """Encode a conversation, as a batch of one."""
        images = [] if conversation.image is None else [self._image(conversation)]
        with processor_errors(
            "the conversation",
            conversation.where,
            "is the base a model of images and text, with all of its files?",
        ):
            return self._example(conversation, images)

    def _image(self, conversation: Conversation) -> Image.Image:
        assert conversation.image is not None
        image = open_image(conversation.image, conversation.where)
        return image if self.mean is None else frame_image(image, "pad", self.mean)

    def _example(self, conversation: Conversation, images: list[Image.Image]) -> Example:
        written = self.wording(conversation)
        if self.as_llava:
            (tokens,), pixels = llava_inputs(self.processor, self.config, [written.text], images)
            row = torch.tensor([tokens])  # [1, tokens]
            inputs = pixels | {"input_ids": row, "attention_mask": torch.ones_like(row)}
        else:
            inputs = self.model.encode([written.text], images)
        ids = inputs["input_ids"][0]
        labels = torch.full_like(ids, IGNORED)
        marked = self._answers(written)
        first = next(n for n, (_, learned) in enumerate(marked) if learned)
        tail = torch.tensor([token for token, _ in marked[first:]])
        if not torch.equal(ids[-len(tail) :], tail):
            raise ValueError("its text has other tokens with an image than without")
        learned = torch.tensor([learned for _, learned in marked[first:]])
        labels[-len(tail) :][learned] = tail[learned]
        return self._cut(conversation, inputs | {"labels": labels[None]})

    def _answers(self, written: ConversationText) -> list[tuple[int, bool]]:
        """Return the tokens of the text, or of its piece after the image, and which are answers."""
        in_pieces = self.as_llava and IMAGE in written.text
        start = written.text.rindex(IMAGE) + len(IMAGE) if in_pieces else 0
        tokens = self.tokenizer(
            written.text[start:], return_offsets_mapping=True, add_special_tokens=False
        )
        spans = [(first - start, last - start) for first, last in written.answers]
        return [
            (token, _overlaps(span, spans))
            for token, span in zip(tokens["input_ids"], tokens["offset_mapping"], strict=True)
        ]

    def _cut(self, conversation: Conversation, example: Example) -> Example:
        """Cut what is too long at the end."""
        length = example["input_ids"].shape[1]
        if length <= self.max_length:
            return example
        kept = {
            name: value[:, : self.max_length] if name in SEQUENCES else value
            for name, value in example.items()
        }
        mark = getattr(self.config, "image_token_id", -1)
        cut = bool((example["input_ids"][:, self.max_length :] == mark).any())
        if cut or not (kept["labels"] != IGNORED).any():
            raise MergeError(
                f"of {length} tokens, the first {self.max_length} hold "
                f"{'not all of the image' if cut else 'nothing of an answer'}",
                where=conversation.where,
                hint="a larger --max-length, if the model has room for it; or remove the record",
            )
        return kept


def _overlaps(token: Span, spans: Sequence[Span]) -> bool:
    """Return whether some of a token is in an answer.

    A tokenizer may join the space before an answer's first word with the word.
    """
    start, end = token
    return any(first <= start < last or first < end <= last for first, last in spans)


def encoder_for(base: str, recipe: TrainingRecipe) -> ConversationEncoder:
    """Load the processor of a base, and choose its prompt and frame."""
    settings = settings_of(base)
    prompt = prompt_for(settings, recipe.prompt, base)
    padded = recipe.framing == "pad" or (recipe.framing == "auto" and is_llava_15(settings))
    processor = load_processor(base)
    tokenizer = ModelProcessor(processor).tokenizer
    if not tokenizer.is_fast:
        raise MergeError(
            f"a {type(tokenizer).__name__} does not map tokens to letters",
            where=base,
            hint="a base with tokenizer.json; AutoTokenizer.from_pretrained(…).save_pretrained(…) "
            "writes one",
        )
    images: Any = getattr(processor, "image_processor", None)
    if is_llava_15(settings) and getattr(images, "do_pad", None):
        images.do_pad = False  # the recipe decides about padding
    if padded and images is None:
        raise MergeError("the base has no processor for images", where=base, hint="--framing as-is")
    config = transformers.AutoConfig.from_pretrained(str(expand_user(base)))
    room = getattr(config.get_text_config(), "max_position_embeddings", None)
    return ConversationEncoder(
        processor,
        config,
        vicuna if prompt == "vicuna" else _template(ModelProcessor(processor), base),
        prompt == "vicuna",
        min(recipe.max_length, room or recipe.max_length),
        images.image_mean if padded else None,  # the mean color becomes zero
    )


def _template(processor: ModelProcessor, base: str) -> Template:
    if not processor.has_template:
        raise MergeError(
            "the base has no chat template",
            where=base,
            hint="a base that was trained on conversations has one, in chat_template.jinja "
            "or in tokenizer_config.json",
        )
    tokenizer = processor.tokenizer
    special = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
    return Template(processor, tokenizer.eos_token or "", tuple(sorted(special)))
