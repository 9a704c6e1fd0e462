"""Tiny models as whole folders: weights, image processor, byte-level tokenizer, chat template.

What is in a folder is what the real loading code reads from the Hub. No two families are alike in
what their processors want, which is the point.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from factories.families import IMAGE_TOKEN, VOCABULARY, build

_MARKS = {
    "llava": "<image>\n",
    "llava_next": "<image>\n",
    "llava_onevision": "<image>\n",
    "qwen2_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "qwen3_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "internvl": "<IMG_CONTEXT>\n",
    "idefics3": "<image>",
    "smolvlm": "<image>",
}
FAMILIES = tuple(_MARKS)
_MORE: Mapping[str, tuple[str, ...]] = {
    "qwen": ("<|vision_start|>", "<|vision_end|>", "<|video_pad|>"),
    "internvl": ("<img>", "</img>", "<video>"),
    "idefics3": ("<fake_token_around_image>", "<global-img>", "<end_of_utterance>"),
    "llava": ("<video>",),
}
_TILES = [[28, 28], [28, 56]]
_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role.upper() }}: "
    "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
    "{% if p.type == 'image' %}IMAGE{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %} "
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def save(family: str, folder: Path, seed: int = 0) -> Path:
    """Save a family's tiny model as a folder that `--base` takes.

    Args:
        family: One of FAMILIES.
        folder: Where; created if missing.
        seed: Decides the weights.
    """
    model = build(family, seed)
    model.config.get_text_config().max_position_embeddings = 4096
    if hasattr(model.config, "image_grid_pinpoints"):
        model.config.image_grid_pinpoints = _TILES
    model.save_pretrained(folder)
    words = tokenizer(family)
    template = _TEMPLATE.replace("IMAGE", _MARKS[family])
    words.chat_template = template
    words.save_pretrained(folder)
    images(family).save_pretrained(folder)
    settings = _processor_settings(family)
    if settings:
        (folder / "processor_config.json").write_text(json.dumps(settings))
    return folder


def tokenizer(family: str) -> PreTrainedTokenizerFast:
    """One token per byte, and those that a family's processor asks for."""
    stem = next((name for name in _MORE if family.startswith(name)), "idefics3")
    mark = _MARKS[family].strip().removeprefix("<|vision_start|>").removesuffix("<|vision_end|>")
    special = [*_MORE[stem], *(f"<row_{i}_col_{j}>" for i in (1, 2) for j in (1, 2))]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<pad>", "<s>", "</s>", *letters, *special]
    words += [f"<unused{n}>" for n in range(IMAGE_TOKEN - len(words))]
    words += [mark, *(f"<unused{n}>" for n in range(100, 99 + VOCABULARY - IMAGE_TOKEN))]
    made = Tokenizer(models.BPE({w: n for n, w in enumerate(words)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    made.add_special_tokens([mark, *special])
    named: Any = [mark, *special]
    if family == "internvl":  # whose processor asks its tokenizer by these names
        named = {"start_image_token": "<img>", "end_image_token": "</img>"}
        named |= {"context_image_token": mark, "video_token": "<video>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens=named,
    )


def images(family: str) -> Any:
    """The family's image processor, made for the tiny images of `families`."""
    square = {"height": 28, "width": 28}
    if family == "llava":
        return transformers.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=square)
    if family == "llava_next":
        return transformers.LlavaNextImageProcessor(
            size={"shortest_edge": 28}, crop_size=square, image_grid_pinpoints=_TILES
        )
    if family == "llava_onevision":
        return transformers.LlavaOnevisionImageProcessor(size=square, image_grid_pinpoints=_TILES)
    if family.startswith("qwen"):
        return transformers.Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=56 * 112)
    if family == "internvl":
        side = {"height": 56, "width": 56}
        return transformers.GotOcr2ImageProcessor(size=side, crop_to_patches=True, max_patches=2)
    kind = {"idefics3": "Idefics3ImageProcessor", "smolvlm": "SmolVLMImageProcessor"}[family]
    return getattr(transformers, kind)(
        size={"longest_edge": 112}, max_image_size={"longest_edge": 56}
    )


def _processor_settings(family: str) -> dict[str, Any]:
    named = {"llava": "Llava", "llava_next": "LlavaNext"}.get(family)
    if named:
        return {
            "processor_class": f"{named}Processor",
            "patch_size": 14,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        }
    return {
        "llava_onevision": {"num_image_tokens": 4, "vision_feature_select_strategy": "full"},
        "internvl": {"image_seq_length": 4},
        "idefics3": {"image_seq_len": 4},
        "smolvlm": {"image_seq_len": 4},
    }.get(family, {})


def draw(path: Path, seed: int, size: tuple[int, int] = (60, 40)) -> Path:
    """An image of a few shapes, the same for the same seed."""
    generator = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(generator.integers(0, 256, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = (int(generator.integers(0, side)) for side in size)
        radius = int(generator.integers(4, 16))
        color = tuple(generator.integers(0, 256, 3).tolist())
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path
