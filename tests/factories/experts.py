"""Tiny mixtures of experts, one per family, and adapters on their fused experts.

Real architectures with random weights. They differ in how they store the experts' gate_up_proj:

    Qwen3-MoE, Mixtral, Qwen3-VL-MoE   [E, 2·I, H], the gate before the other half
    Llama 4                            [E, H, 2·I], likewise
    gpt-oss                            [E, H, 2·I], gate and up taking turns
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import (
    GptOssConfig,
    GptOssForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

IMAGE_TOKEN = 29
TEXT: Mapping[str, Tensor] = {"input_ids": torch.arange(20)[None]}
IMAGE: Mapping[str, Tensor] = {
    "input_ids": torch.tensor([[3, 4, *[IMAGE_TOKEN] * 4, 5, 6]]),
    "mm_token_type_ids": torch.tensor([[0, 0, 1, 1, 1, 1, 0, 0]]),
    "pixel_values": torch.randn(16, 1176, generator=torch.Generator().manual_seed(0)),
    "image_grid_thw": torch.tensor([[1, 4, 4]]),
}
SIZES: Mapping[str, Any] = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_experts_per_tok": 2,
}
Build = Callable[[], nn.Module]


def qwen() -> nn.Module:
    """Build Qwen3-MoE."""
    return Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            moe_intermediate_size=12, intermediate_size=24, head_dim=8, num_experts=4, **SIZES
        )
    )


def mixtral() -> nn.Module:
    """Build Mixtral."""
    return MixtralForCausalLM(MixtralConfig(intermediate_size=12, num_local_experts=4, **SIZES))


def gpt_oss() -> nn.Module:
    """Build gpt-oss."""
    return GptOssForCausalLM(
        GptOssConfig(intermediate_size=12, num_local_experts=4, head_dim=8, **SIZES)
    )


def llama4() -> nn.Module:
    """Build Llama 4's language model."""
    return Llama4ForCausalLM(
        Llama4TextConfig(
            intermediate_size=12,
            intermediate_size_mlp=24,
            num_local_experts=4,
            head_dim=8,
            interleave_moe_layer_step=1,
            **{**SIZES, "num_experts_per_tok": 1},
        )
    )


def qwen_vl() -> nn.Module:
    """Build Qwen3-VL-MoE."""
    text = {
        "moe_intermediate_size": 12,
        "intermediate_size": 24,
        "head_dim": 16,
        "num_experts": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
    }
    vision = {
        "depth": 2,
        "num_heads": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "patch_size": 14,
        "out_hidden_size": SIZES["hidden_size"],
        "deepstack_visual_indexes": [0, 1],
        "num_position_embeddings": 16,
    }
    return Qwen3VLMoeForConditionalGeneration(
        Qwen3VLMoeConfig(
            text_config={**SIZES, **text}, vision_config=vision, image_token_id=IMAGE_TOKEN
        )
    )


def targets(owner: str, router: str = "") -> list[str]:
    """Return the `target_parameters` of all experts, and of the router."""
    return [f"{owner}.experts.gate_up_proj", f"{owner}.experts.down_proj", *filter(None, [router])]


FAMILIES: Mapping[str, tuple[Build, list[str]]] = {
    "Qwen3-MoE": (qwen, targets("mlp", "mlp.gate.weight")),
    "Mixtral": (mixtral, targets("mlp", "mlp.gate.weight")),
    "gpt-oss": (gpt_oss, targets("mlp", "mlp.router.weight")),
    "Llama 4": (llama4, targets("feed_forward")),
    "Qwen3-VL-MoE": (qwen_vl, targets("mlp", "mlp.gate.weight")),
}


def batch(family: str) -> Mapping[str, Tensor]:
    """Return a prompt, with an image where the family takes one."""
    return IMAGE if family == "Qwen3-VL-MoE" else TEXT


def seeded(build: Build) -> nn.Module:
    """Build a model whose weights are the same on every call."""
    torch.manual_seed(0)
    model = build()
    with torch.no_grad():
        for parameter in model.parameters():  # some families leave experts uninitialized
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return model.eval()


def trained(build: Build, folder: Path, seed: int, **settings: Any) -> dict[str, Tensor]:
    """Save a random adapter; return what it adds to every parameter, by PEFT's own arithmetic."""
    base = seeded(build)
    before = {k: v.clone() for k, v in base.state_dict().items()}
    live = get_peft_model(base, LoraConfig(**{"r": 3, "lora_alpha": 5} | settings)).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in live.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    live.save_pretrained(str(folder))
    merged = live.merge_and_unload().state_dict()
    return {name: merged[name] - tensor for name, tensor in before.items()}
