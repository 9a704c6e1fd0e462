"""Bases and adapters for vLLM: two families, every kind of adapter, and what `merge` makes of it.

LLaVA is the laptop benchmark's base under Hub names; Qwen2-VL is a small one with random weights.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from clients.cases import Output, rewrite
from clients.vllm_client import PROMPT
from factories.bases import adapt, write_image

BASE = Path("bench/artifacts/mini/base")
LAYOUTS = (None, "hf", "hf-old", "llava", "flat")
MLP = {"r": 4, "target_modules": ["gate_proj", "up_proj", "down_proj"]}
CONTENTS: Mapping[str, Mapping[str, Any]] = {
    "language": {"r": 4, "target_modules": r".*language_model.*\.(q|v|o|down)_proj"},
    "ranks": MLP | {"rank_pattern": {"down_proj": 2}, "alpha_pattern": {"up_proj": 3}},
    "embeddings": {"r": 4, "target_modules": ["embed_tokens"]},
    "head": {"r": 4, "target_modules": ["lm_head"]},
    "whole head": MLP | {"modules_to_save": ["lm_head"]},
    "norms": MLP | {"modules_to_save": ["input_layernorm"]},
    "token rows": MLP | {"trainable_token_indices": [17, 42]},
}
OF_LLAVA: Mapping[str, Mapping[str, Any]] = {
    "tower": {"r": 4, "target_modules": r".*vision_tower.*\.(q_proj|v_proj|fc2)"},
    "projector": MLP | {"modules_to_save": ["multi_modal_projector"]},
}
QWEN_TEXT = {
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,  # of 32, the smallest that vLLM computes on a CPU
    "num_key_value_heads": 2,
    "vocab_size": 320,
    "max_position_embeddings": 256,
    "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [4, 6, 6]},
    "tie_word_embeddings": False,
}
QWEN_VISION = {"depth": 1, "embed_dim": 64, "hidden_size": 128, "num_heads": 2}


@dataclass(frozen=True)
class Served:
    """A base, and how it is asked.

    Attributes:
        name: Its family.
        served: The base as vLLM reads it.
        base: The same base as transformers reads it.
        prompt: Token ids, those of the image once.
        image: A picture that stands in the prompt.
        batch: What transformers computes of the prompt.
    """

    name: str
    served: Path
    base: Path
    prompt: list[int]
    image: Path | None
    batch: Mapping[str, torch.Tensor]


def llava(root: Path) -> Served:
    """Name the tower as checkpoints on the Hub do: transformers 5 leaves a level out."""
    folder = root / "llava-base"
    if not folder.exists():
        shutil.copytree(BASE, folder)
        tensors = load_file(folder / "model.safetensors")
        tower = re.compile(r"^vision_tower\.(?!vision_model)")
        named = {tower.sub("vision_tower.vision_model.", n): t for n, t in tensors.items()}
        save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
        write_image(folder.with_suffix(".png"), 0, side=48)
    image = folder.with_suffix(".png")
    pixels = AutoImageProcessor.from_pretrained(BASE)(Image.open(image), return_tensors="pt")
    ids = torch.tensor([[1, *[4] * 36, *PROMPT[1:]]])
    return Served("llava", folder, BASE, [1, 4, *PROMPT[1:]], image, {"input_ids": ids, **pixels})


def qwen2_vl(root: Path) -> Served:
    """Save a Qwen2-VL of random weights."""
    from factories.bases import qwen as save_processor

    folder = root / "qwen2_vl-base"
    if not folder.exists():
        save_processor(folder)
        torch.manual_seed(0)
        config = Qwen2VLConfig(text_config=QWEN_TEXT, vision_config=QWEN_VISION)
        config.image_token_id, config.video_token_id = 303, 304
        config.vision_start_token_id, config.vision_end_token_id = 301, 302
        Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    ids = torch.tensor([PROMPT])
    return Served("qwen2_vl", folder, folder, PROMPT, None, {"input_ids": ids})


FAMILIES = {"llava": llava, "qwen2_vl": qwen2_vl}


def outputs(root: Path, served: Served) -> Iterator[Output]:
    """Make adapters of every kind, and rewrite them; language modules in all layouts."""
    contents = CONTENTS | (OF_LLAVA if served.name == "llava" else {})
    for case, settings in contents.items():
        source = root / served.name / case.replace(" ", "-")
        if not source.exists():
            _make(served.base, source, settings)
        for layout in LAYOUTS if case == "language" else LAYOUTS[:1]:
            folder = source.with_name(f"{source.name}-{layout or 'same'}")
            output = rewrite(Output(served.name, case, layout, served.served, source, folder))
            yield output
            if output.output is None and layout == "flat":
                yield _rename(output, source.with_name(f"{source.name}-hf"), folder)


def _make(base: Path, folder: Path, settings: Mapping[str, Any]) -> None:
    """Save an adapter of random values."""
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    tuned = adapt(model, {"default": settings})
    torch.manual_seed(2)
    for name, parameter in tuned.named_parameters():
        if "modules_to_save" in name or "trainable_tokens_delta" in name:
            parameter.data += 0.2 * torch.randn_like(parameter)
    tuned.save_pretrained(str(folder), save_embedding_layers=False)


def _rename(refused: Output, source: Path, folder: Path) -> Output:
    """Copy an output to flat names, which `merge` refuses for the family."""
    if not folder.exists():
        shutil.copytree(source, folder)
        (folder / "merge.json").unlink()  # it has the hashes of what is renamed here
        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        save_file({n.replace("model.language_model.", "model."): tensors[n] for n in tensors}, path)
    return replace(refused, layout="flat, renamed by hand", output=folder, refusal="")
