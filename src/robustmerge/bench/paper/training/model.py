"""What makes examples for a base: its processor, with the prompt and the frame that suit it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers

from ....adapter.source import at_home
from ....collect.load import load_processor
from ....errors import MergeError
from .conversations import Conversation
from .encoding import Encoder
from .families import LLAVA
from .recipe import Recipe
from .wording import Template, Worded, vicuna


def encoder_for(base: str, recipe: Recipe) -> Encoder:
    """Load the processor of a base and choose prompt and frame.

    Raises:
        MergeError: It cannot be loaded, or lacks what the recipe wants.
    """
    processor = load_processor(base)
    config = transformers.AutoConfig.from_pretrained(str(at_home(base)))
    suits = config.model_type == LLAVA
    as_llava = recipe.prompt == "vicuna" or (recipe.prompt == "auto" and suits)
    framed = recipe.framing == "pad" or (recipe.framing == "auto" and suits)
    tokenizer = getattr(processor, "tokenizer", processor)
    if not tokenizer.is_fast:
        raise MergeError(
            f"a {type(tokenizer).__name__} does not tell which letters a token is of",
            where=base,
            hint="a base with tokenizer.json; AutoTokenizer.from_pretrained(…).save_pretrained(…) "
            "writes one",
        )
    room = getattr(config.get_text_config(), "max_position_embeddings", None)
    return Encoder(
        processor,
        vicuna if as_llava else _template(processor, base),
        as_llava,
        min(recipe.max_length, room or recipe.max_length),
        _gray(processor, base) if framed else None,
    )


def pad_token(encoder: Encoder) -> int:
    """The token that sequences are filled up with; nothing looks at it."""
    tokenizer = encoder.tokenizer
    found = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(token for token in found if token is not None)


def _template(processor: Any, base: str) -> Callable[[Conversation], Worded]:
    tokenizer = getattr(processor, "tokenizer", processor)
    holder = next((it for it in (processor, tokenizer) if it.chat_template), None)
    if holder is None:
        raise MergeError(
            "the base has no chat template", where=base, hint="--prompt vicuna, if that suits it"
        )
    special = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
    return Template(
        holder, tokenizer is not processor, tokenizer.eos_token or "", tuple(sorted(special))
    )


def _gray(processor: Any, base: str) -> tuple[int, int, int]:
    """The mean color, as LLaVA's code rounds it; it becomes zero."""
    images = getattr(processor, "image_processor", None)
    if images is None:
        raise MergeError(
            "the base has no processor of pictures", where=base, hint="--framing as-is"
        )
    red, green, blue = (int(255 * mean) for mean in images.image_mean)
    return red, green, blue
