"""A tiny CLIP as a folder, with its tokenizer and image processor, and images by class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from factories.families import _quiet
from robustmerge_bench.paper.training.clip.recipe import ClipRecipe

SIDE = 32
_IMAGES = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)
"""The class without torchvision has a name of its own in recent versions."""
QUICK = ClipRecipe(rank=4, steps=40, batch=12, learning_rate=1e-2, dropout=0.0)
COLORS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (40, 50, 220)}


def base(folder: Path, seed: int = 0) -> Path:
    """A CLIP with random weights, 60 thousand of them, as transformers saves one."""
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "initializer_range": 0.1}
    text = shape | {"vocab_size": 514, "max_position_embeddings": 32}
    text |= {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    vision = shape | {"image_size": SIDE, "patch_size": 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(folder)
    _IMAGES(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def tokenizer() -> CLIPTokenizer:
    """One token for each byte, inside a word and at its end."""
    letters = _bytes()
    words = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={word: n for n, word in enumerate(words)}, merges=[], model_max_length=32
    )


def _bytes() -> list[str]:
    """The letters that stand for bytes in byte-level BPE."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [n for n in range(256) if n not in plain]
    return [chr(n) for n in plain] + [chr(256 + n) for n in range(len(others))]


def squares(
    folder: Path, each: int, seed: int, colors: Mapping[str, tuple[int, int, int]] = COLORS
) -> Path:
    """Images of a square of the class's color on gray, in a folder for each class."""
    draws = np.random.default_rng(seed)
    for name, color in colors.items():
        (folder / name).mkdir(parents=True)
        for number in range(each):
            image = draws.integers(90, 160, (40, 40, 3), dtype=np.uint8)
            top, left = draws.integers(0, 16, 2)
            image[top : top + 24, left : left + 24] = color
            Image.fromarray(image).save(folder / name / f"{number}.png")
    return folder
