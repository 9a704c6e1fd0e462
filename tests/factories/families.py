"""Tiny vision-language models, one per family, and adapters trained on nothing.

Real architectures with random weights, 0.13 to 0.23 million parameters each: key names and
arithmetic are those of the full models, and each is built in a fraction of a second.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

VOCABULARY = 310
IMAGE_TOKEN = 300
LANGUAGE = r".*\.(language_model|text_model)\.layers\.\d+\.(self_attn|cross_attn|mlp)\.\w+_proj"

_ZERO_AT_FIRST = ("_gate", "mm_input_projection_weight")
_NOTHING = torch.empty(0)
_TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "initializer_range": 0.1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "initializer_range": 0.1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_QWEN_VISION = {"initializer_range": 0.1, "depth": 2, "num_heads": 2, "patch_size": 14}
_MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
_TILES = {"image_grid_pinpoints": [[28, 28]], "vision_feature_layer": -1}


@dataclass(frozen=True)
class _Family:
    """What distinguishes one family: its configuration and the shape of one image in a batch."""

    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    pixels: tuple[int, ...]
    image_tokens: int
    more: Mapping[str, Any] = field(default_factory=dict)
    extra_inputs: Mapping[str, list[list[int]]] = field(default_factory=dict)


_LLAMA = _TEXT | {"model_type": "llama"}
_QWEN2 = _TEXT | {"model_type": "qwen2"}
_ONE_TILE = {"image_sizes": [[28, 28]]}
_GRID = {"image_grid_thw": [[1, 4, 4]]}
_SIGLIP = _VISION | {"model_type": "siglip_vision_model"}
_IDEFICS = _Family(_LLAMA, _VISION | {"image_size": 56}, (1, 1, 3, 56, 56), 4)

_FAMILIES = {
    "llava": _Family(
        _LLAMA,
        _VISION | {"model_type": "clip_vision_model"},
        (1, 3, 28, 28),
        4,
        {"vision_feature_layer": -1},
    ),
    "llava_next": _Family(
        _TEXT | {"model_type": "mistral"},
        _VISION | {"model_type": "clip_vision_model"},
        (1, 2, 3, 28, 28),
        10,
        _TILES,
        _ONE_TILE,
    ),
    "llava_onevision": _Family(
        _QWEN2,
        _SIGLIP,
        (1, 2, 3, 28, 28),
        10,
        _TILES,
        _ONE_TILE,
    ),
    "qwen2_vl": _Family(
        _TEXT | {"rope_parameters": _MROPE},
        _QWEN_VISION | {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2},
        (16, 1176),
        4,
        extra_inputs=_GRID,
    ),
    "qwen2_5_vl": _Family(
        _TEXT | {"rope_parameters": _MROPE},
        _QWEN_VISION
        | {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 64}
        | {"fullatt_block_indexes": [1], "window_size": 56},
        (16, 1176),
        4,
        extra_inputs=_GRID,
    ),
    "qwen3_vl": _Family(
        _TEXT | {"rope_parameters": _MROPE},
        _QWEN_VISION
        | {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 64}
        | {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 16},
        (16, 1176),
        4,
        extra_inputs=_GRID,
    ),
    "internvl": _Family(
        _QWEN2,
        _VISION | {"image_size": [56, 56], "patch_size": [14, 14]},
        (1, 3, 56, 56),
        4,
        {"image_seq_length": 4},
    ),
    "idefics3": _IDEFICS,
    "smolvlm": _IDEFICS,
    "gemma3": _Family(
        _TEXT | {"model_type": "gemma3_text"},
        _SIGLIP,
        (1, 3, 28, 28),
        4,
        {"mm_tokens_per_image": 4},
    ),
    "paligemma": _Family(
        _TEXT | {"model_type": "gemma"},
        _SIGLIP | {"projection_dim": 64},
        (1, 3, 28, 28),
        4,
        {"projection_dim": 64},
    ),
    "mistral3": _Family(
        _TEXT | {"model_type": "mistral"},
        _VISION | {"model_type": "pixtral", "head_dim": 16},
        (1, 3, 28, 28),
        4,
        {"spatial_merge_size": 1},
        _ONE_TILE,
    ),
    "mllama": _Family(
        _TEXT
        | {"model_type": "mllama_text_model", "cross_attention_layers": [1]}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
        {k: v for k, v in _VISION.items() if k != "num_attention_heads"}
        | {"model_type": "mllama_vision_model", "attention_heads": 2, "num_global_layers": 1}
        | {"vision_output_dim": 64, "intermediate_layers_indices": [0]}
        | {"supported_aspect_ratios": [[1, 1]], "max_num_tiles": 1},
        (1, 1, 1, 3, 28, 28),
        1,
        extra_inputs={"aspect_ratio_ids": [[1]], "aspect_ratio_mask": [[[1]]]},
    ),
}

FAMILIES: tuple[str, ...] = tuple(_FAMILIES)


def build(family: str, seed: int = 0) -> PreTrainedModel:
    """Build the family's tiny model with random weights, in evaluation mode."""
    this = _FAMILIES[family]
    config = AutoConfig.for_model(
        family,
        text_config=dict(this.text),
        vision_config=dict(this.vision),
        **dict.fromkeys(("image_token_id", "image_token_index"), IMAGE_TOKEN),
        **this.more,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForImageTextToText.from_config(config)
        for name, parameter in model.named_parameters():
            if name.endswith(_ZERO_AT_FIRST):  # and the image would not reach the logits
                parameter.data.uniform_(0.1, 0.5)
    return model.eval()


def inputs(family: str, model: PreTrainedModel) -> dict[str, Tensor]:
    """Make a batch of one prompt around one random image, the same on every call."""
    this = _FAMILIES[family]
    generator = torch.Generator().manual_seed(0)
    before, after = torch.randint(3, IMAGE_TOKEN, (2, 5), generator=generator)
    ids = torch.cat([before, torch.full((this.image_tokens,), IMAGE_TOKEN), after])[None]
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.randn(this.pixels, generator=generator, dtype=model.dtype),
    }
    if this.extra_inputs is _GRID:
        batch["mm_token_type_ids"] = (ids == IMAGE_TOKEN).int()
    return batch | {name: torch.tensor(value) for name, value in this.extra_inputs.items()}


def text_inputs() -> dict[str, Tensor]:
    """Make a batch of one prompt without an image, for any family."""
    ids = torch.arange(3, 15)[None]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def logits(family: str, model: PreTrainedModel | PeftModel) -> Tensor:
    """Run the model on the family's image prompt."""
    with torch.no_grad():
        output: Tensor = model(**inputs(family, model)).logits
    return output


def save_adapter(
    family: str,
    folder: Path,
    *,
    seed: int,
    rank: int = 4,
    alpha: int = 8,
    targets: str | list[str] = "language",
    rslora: bool = False,
    modules_to_save: list[str] | None = None,
    **options: Any,
) -> Path:
    """Save an adapter of the family's seed-0 model with a random update that is not zero.

    Args:
        family: One of FAMILIES.
        folder: Where the adapter is written; created if missing.
        seed: Decides every tensor of the adapter.
        rank: The rank of the update.
        alpha: The alpha of the update.
        targets: "language" for the language model's linear layers, "all-linear", or what
            target_modules of LoraConfig takes.
        rslora: Whether the scaling is α/√r.
        modules_to_save: Fully trained modules, moved away from the base like everything else.
        **options: Further fields of LoraConfig.
    """
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=LANGUAGE if targets == "language" else targets,
        use_rslora=rslora,
        modules_to_save=modules_to_save,
        **options,
    )
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        model = get_peft_model(build(family), config)
        for parameter in filter(lambda item: item.requires_grad, model.parameters()):
            parameter.data += 0.1 * torch.randn_like(parameter)
        model.save_pretrained(str(folder))
    _name_base(folder, f"tiny/{family}")
    return folder


def attach(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Attach a saved adapter the way users do, in evaluation mode."""
    with _quiet():
        return PeftModel.from_pretrained(model, str(folder)).eval()


def not_landed(model: PeftModel, folder: Path) -> list[str]:
    """Name the tensors of an attached adapter that differ from its file or are not in the model."""
    live = get_peft_model_state_dict(model, save_embedding_layers=False)
    saved = load_file(folder / "adapter_model.safetensors")
    return [
        key for key, tensor in saved.items() if not torch.equal(live.get(key, _NOTHING), tensor)
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the one warning that peft 0.21 causes in transformers 5.23 whatever the caller does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
        yield


def _name_base(folder: Path, base: str) -> None:
    """Give the adapter a base model's name; were it known earlier, peft would look it up online."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_model_name_or_path": base}, indent=2))
