"""What makes examples for a base: its processor, with the prompt and the frame that suit it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import transformers

from robustmerge.collect.load import load_processor
from robustmerge.errors import MergeError
from robustmerge.files import expand_user

from ..answering.family import is_llava_15, prompt_for, settings_of
from .conversations import Conversation
from .encoding import ConversationEncoder
from .recipe import TrainingRecipe
from .wording import ConversationText, Template, vicuna


def encoder_for(base: str, recipe: TrainingRecipe) -> ConversationEncoder:
    """Load the processor of a base and choose prompt and frame.

    Raises:
        MergeError: It cannot be loaded, or lacks what the recipe wants.
    """
    settings = settings_of(base)
    prompt = prompt_for(settings, recipe.prompt, base)
    padded = recipe.framing == "pad" or (recipe.framing == "auto" and is_llava_15(settings))
    processor = load_processor(base)
    tokenizer = getattr(processor, "tokenizer", processor)
    if not tokenizer.is_fast:
        raise MergeError(
            f"a {type(tokenizer).__name__} does not tell which letters a token is of",
            where=base,
            hint="a base with tokenizer.json; AutoTokenizer.from_pretrained(…).save_pretrained(…) "
            "writes one",
        )
    images: Any = getattr(processor, "image_processor", None)
    if is_llava_15(settings) and getattr(images, "do_pad", None):
        images.do_pad = False  # ours is by the recipe
    config = transformers.AutoConfig.from_pretrained(str(expand_user(base)))
    room = getattr(config.get_text_config(), "max_position_embeddings", None)
    return ConversationEncoder(
        processor,
        config,
        vicuna if prompt == "vicuna" else _template(processor, base),
        prompt == "vicuna",
        min(recipe.max_length, room or recipe.max_length),
        _mean(images, base) if padded else None,
    )


def pad_token(encoder: ConversationEncoder) -> int:
    """The token that sequences are filled up with; nothing looks at it."""
    tokenizer = encoder.tokenizer
    found = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(token for token in found if token is not None)


def _template(processor: Any, base: str) -> Callable[[Conversation], ConversationText]:
    tokenizer = getattr(processor, "tokenizer", processor)
    holder = next((it for it in (processor, tokenizer) if it.chat_template), None)
    if holder is None:
        raise MergeError(
            "the base has no chat template",
            where=base,
            hint="a base that was trained to hold conversations has one, in chat_template.jinja "
            "or in tokenizer_config.json",
        )
    special = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
    return Template(
        holder, tokenizer is not processor, tokenizer.eos_token or "", tuple(sorted(special))
    )


def _mean(images: Any, base: str) -> Sequence[float]:
    """The processor's mean color, which becomes zero."""
    if images is None:
        raise MergeError(
            "the base has no processor of pictures", where=base, hint="--framing as-is"
        )
    mean: Sequence[float] = images.image_mean
    return mean
