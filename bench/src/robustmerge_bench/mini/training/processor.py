"""Tokenizer and processor: one token per word, patches of eight pixels."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlavaProcessor, PreTrainedTokenizerFast

from ..world.words import END, IMAGE, PAD, START, UNKNOWN, vocabulary


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer, which splits and joins words at spaces."""
    numbers = {token: number for number, token in enumerate(vocabulary())}
    inner = Tokenizer(models.WordLevel(numbers, unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, numbers[START])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=[IMAGE],
        padding_side="left",
    )


TEMPLATE = """{%- for message in messages -%}
{%- if message.role == "user" %}USER:{% else %}ASSISTANT:{% endif -%}
{%- for part in message.content -%}
{%- if part.type == "image" %} <image>{% else %} {{ part.text }}{% endif -%}
{%- endfor %}{{ " " if message.role == "user" else " </s> " }}
{%- endfor -%}
{%- if add_generation_prompt %}ASSISTANT:{% endif -%}"""


def make_processor(tokenizer: PreTrainedTokenizerFast, side: int, patch: int) -> LlavaProcessor:
    """Return the processor of images and texts, for plain transformers.

    `side` and `patch` are the sides of an image and of a patch in pixels; other images are resized.
    """
    from transformers import CLIPImageProcessor  # prints advice about torchvision when imported

    images = CLIPImageProcessor(
        size={"height": side, "width": side},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
