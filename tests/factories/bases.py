"""Tiny base models as folders, with tokenizers, processors and samples, as `collect` reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    CLIPImageProcessor,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
)

from factories.families import _TEXT, IMAGE_TOKEN, VOCABULARY, _quiet, build

TEMPLATE = (
    "{% for m in messages %}{{ 'w9 ' if m.role == 'user' else ' w8 ' }}"
    "{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{% if p.type == 'image' %}IMAGE {% else %}{{ p.text }}{% endif %}"
    "{% endfor %}{% endif %}{% if m.role != 'user' %} w4{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} w8 {% endif %}"
)
"""w9, the user's turn, w8, the answer, w4."""


def tokenizer(template: str | None = None) -> PreTrainedTokenizerFast:
    """Make a tokenizer of one token per word: w3 is 3."""
    words = ["<pad>", "<s>", "</s>", *(f"w{n}" for n in range(3, VOCABULARY))]
    words[IMAGE_TOKEN : IMAGE_TOKEN + 3] = ["<image>", "<|vision_start|>", "<|vision_end|>"]
    words[303:305] = ["<|image_pad|>", "<|video_pad|>"]
    made = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=words[300:305],
        chat_template=template,
    )


def llava(folder: Path, *, template: bool = True) -> Path:
    """Save the LLaVA of `families`, with its processor."""
    build("llava").save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    written = TEMPLATE.replace("IMAGE", "<image>") if template else None
    LlavaProcessor(
        images,
        tokenizer(written),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=written,
    ).save_pretrained(folder)
    return folder


def text_only(seed: int = 0) -> PreTrainedModel:
    """Build a tiny Llama."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**_TEXT)).eval()


def llama(folder: Path, template: str | None = None) -> Path:
    """Save a tiny Llama, by default without a chat template."""
    text_only().save_pretrained(folder)
    tokenizer(template).save_pretrained(folder)
    return folder


def qwen(folder: Path) -> Path:
    """Save the Qwen2-VL of `families`, whose processor needs torchvision for videos."""
    model = build("qwen2_vl")
    model.config.image_token_id = 303
    model.save_pretrained(folder)
    Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=56 * 56).save_pretrained(folder)
    marks = "<|vision_start|> <|image_pad|> <|vision_end|>"
    tokenizer(TEMPLATE.replace("IMAGE", marks)).save_pretrained(folder)
    return folder


def adapt(
    model: nn.Module, adapters: Mapping[str, Mapping[str, Any]], root: Path | None = None
) -> PeftModel:
    """Add adapters of these settings to the model, none zero; save each under `root`."""
    configs = {
        name: LoraConfig(**{"target_modules": ["q_proj", "down_proj"], **settings})
        for name, settings in adapters.items()
    }
    first, *others = configs
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(1)
        peft = get_peft_model(model, configs[first], adapter_name=first)
        for name in others:
            peft.add_adapter(name, configs[name])
        for name, parameter in peft.named_parameters():
            if ".lora_" in name:
                nn.init.normal_(parameter, std=0.3)
    if root is not None:
        peft.save_pretrained(str(root), save_embedding_layers=False)
    return peft.eval()


def lines(path: Path, samples: Sequence[Mapping[str, Any]]) -> Path:
    """Write a file of samples."""
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return path


def write_image(path: Path, seed: int, side: int = 40) -> Path:
    """Write an image of noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def text_batch(seed: int, length: int = 9) -> dict[str, torch.Tensor]:
    """Make a sample of text for any model of `families` or the tiny Llama."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 299, (1, length), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
