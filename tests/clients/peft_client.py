"""Runs in the environment of one PEFT and transformers; imports nothing of this repository.

    python peft_client.py make FOLDER           tiny bases and adapters of every family it builds
    python peft_client.py compare JOBS RESULTS  an adapter and what was made of it, on one base

Two adapters are compared by the weights of the model into which they are merged: every parameter,
towers, embeddings and head included. That is all that a forward pass could see.
"""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open

CLOSE = 1e-5  # of float32 weights of about 0.1; half a rounding step per product
ONLY = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 310}
TEXT = {
    **ONLY,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
QWEN = {"depth": 2, "num_heads": 2, "patch_size": 14}
WIDE = {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 64}
MROPE = {"rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [2, 3, 3]}}
LLAMA, MISTRAL, QWEN2 = ({**TEXT, "model_type": t} for t in ("llama", "mistral", "qwen2"))
CLIP, SIGLIP = ({**VISION, "model_type": f"{t}_vision_model"} for t in ("clip", "siglip"))
GEMMA = {"query_pre_attn_scalar": 16, "sliding_window": 16, "layer_types": ["full_attention"] * 2}
WHOLE = {"image_token_index": 300, "tie_word_embeddings": False}
TILES = {**WHOLE, "image_grid_pinpoints": [[28, 28]]}
MLLAMA_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "attention_heads": 2,
    "num_global_layers": 1,
    "image_size": 28,
    "patch_size": 14,
    "vision_output_dim": 64,
    "intermediate_layers_indices": [0],
    "supported_aspect_ratios": [[1, 1]],
    "max_num_tiles": 1,
}
MLLAMA_TEXT = {k: v for k, v in TEXT.items() if k not in ("head_dim", "max_position_embeddings")}

FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "llava": (LLAMA, CLIP, WHOLE),
    "llava_next": (MISTRAL, CLIP, TILES),
    "llava_onevision": (QWEN2, SIGLIP, TILES),
    "paligemma": (
        {**TEXT, "model_type": "gemma"},
        SIGLIP,
        {**WHOLE, "projection_dim": 64, "hidden_size": 64},
    ),
    "mllama": (
        MLLAMA_TEXT | {"cross_attention_layers": [1], "rope_scaling": {"rope_type": "default"}},
        MLLAMA_VISION,
        {},
    ),
    "qwen2_vl": ({**TEXT, **MROPE}, {**QWEN, "embed_dim": 32, "hidden_size": 64}, {}),
    "qwen2_5_vl": ({**TEXT, **MROPE}, {**QWEN, **WIDE, "fullatt_block_indexes": [1]}, {}),
    "qwen3_vl": (
        {**TEXT, **MROPE},
        {**QWEN, **WIDE, "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 16},
        {},
    ),
    "internvl": (
        QWEN2,
        {**VISION, "image_size": [28, 28], "patch_size": [14, 14]},
        {"image_token_id": 300, "tie_word_embeddings": False},
    ),
    "idefics3": (LLAMA, VISION, {"image_token_id": 300, "tie_word_embeddings": False}),
    "smolvlm": (LLAMA, VISION, {"image_token_id": 300, "tie_word_embeddings": False}),
    "gemma3": ({**TEXT, **GEMMA}, SIGLIP, {**WHOLE, "mm_tokens_per_image": 4}),
    "mistral3": (MISTRAL, {**VISION, "head_dim": 16, "model_type": "pixtral"}, WHOLE),
}
"""Settings of text, vision and whole by family: a few layers of real architectures."""

PROJECTORS = ("multi_modal_projector", "connector", "merger")


def contents(family: str, modules: list[str]) -> dict[str, dict[str, Any]]:
    """Return LoraConfig settings by what the adapter holds."""
    mlp = ["gate_proj", "up_proj", "down_proj"]
    projector = next((p for p in PROJECTORS if any(p in m.split(".") for m in modules)), None)
    pattern = {"down_proj": 2}
    cases: dict[str, dict[str, Any]] = {
        "language": {"target_modules": mlp},
        "ranks": {"target_modules": mlp, "rank_pattern": pattern, "alpha_pattern": {"up_proj": 3}},
        "tower": {"target_modules": ["q_proj", "v_proj", "down_proj", "qkv"], "use_rslora": True},
        "vocabulary": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
        "head": {"target_modules": mlp, "modules_to_save": ["lm_head"]},
        "norms": {"target_modules": mlp, "modules_to_save": ["norm"]},
    }
    if projector:
        cases["projector"] = {"target_modules": mlp, "modules_to_save": [projector]}
    return cases


def build(family: str) -> Any:
    """Build a family's tiny model with random weights."""
    text, vision, whole = FAMILIES[family]
    parts: dict[str, Any] = {"text_config": dict(text), **whole}
    if family == "qwen2_vl" and transformers.__version__ < "4.52":  # one table for text and whole
        parts = {**text, **whole}
    config = transformers.AutoConfig.for_model(family, vision_config=dict(vision), **parts)
    return model_class(config)(config)


def model_class(config: Any) -> Any:
    """Return the class with a head of a configuration."""
    from transformers.models.auto import modeling_auto as auto

    for table in ("IMAGE_TEXT_TO_TEXT", "VISION_2_SEQ"):
        names = getattr(auto, f"MODEL_FOR_{table}_MAPPING_NAMES", {})
        if config.model_type in names:
            return getattr(transformers, names[config.model_type])
    raise LookupError(config.model_type)


def make(folder: Path) -> None:
    """Save a base and its adapters for every family that this version builds."""
    for family in FAMILIES:
        torch.manual_seed(0)
        try:
            base = build(family)
            base.save_pretrained(folder / family / "base")
        except Exception as error:
            print(f"{family}: not built: {type(error).__name__} {error}"[:200])
            continue
        names = [name for name, _ in base.named_modules()]
        for case, settings in contents(family, names).items():
            try:
                save_adapter(family, folder / family / case, settings)
            except Exception as error:
                print(f"{family} {case}: not made: {type(error).__name__} {error}"[:200])


def save_adapter(family: str, folder: Path, settings: dict[str, Any]) -> None:
    """Save an adapter that moves every tensor it holds away from its start."""
    base = load(folder.parent / "base")
    torch.manual_seed(1)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, **settings))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    path = folder / "adapter_config.json"
    content = json.loads(path.read_text()) | {"base_model_name_or_path": f"tiny/{family}"}
    path.write_text(json.dumps(content))


def load(folder: Path) -> Any:
    """Load a base in float32."""
    config = transformers.AutoConfig.from_pretrained(folder)
    return model_class(config).from_pretrained(folder, torch_dtype=torch.float32)


def weights(base: Path, adapter: Path | None) -> dict[str, torch.Tensor]:
    """Return all weights of a model into which an adapter is merged."""
    model = load(base)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def compare(job: dict[str, Any]) -> list[str]:
    """Say what each output does, next to its input and the bare base."""
    base = Path(job["base"])
    bare = weights(base, None)
    try:
        wanted = weights(base, Path(job["input"]))
    except Exception as error:
        return [f"input: {type(error).__name__}"] * len(job["outputs"])
    moved = {name for name in bare if differ(bare[name], wanted[name])}
    if not moved:
        return ["input: loads nothing"] * len(job["outputs"])
    whole = count_weights(Path(job["input"]))
    return [judge(base, bare, wanted, moved, whole, Path(out)) for out in job["outputs"]]


def count_weights(adapter: Path) -> int:
    """Count the weights of the model that an adapter is about."""
    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        return sum("lora_B" not in name and "lora_embedding_B" not in name for name in file.keys())  # noqa: SIM118


def judge(
    base: Path,
    bare: dict[str, torch.Tensor],
    wanted: dict[str, torch.Tensor],
    moved: set[str],
    whole: int,
    output: Path,
) -> str:
    """Compare one output's weights with the input's, of which some may find no place either."""
    try:
        seen = weights(base, output)
    except Exception as error:
        traceback.print_exc()
        return f"error: {type(error).__name__}"
    wrong = {name for name in wanted if differ(seen[name], wanted[name])}
    if not wrong and len(moved) < whole:
        return f"as the input, in part: {len(moved)} of {whole} weights"
    if not wrong:
        return f"as the input, {len(moved)} weights"
    if not wrong & moved and len(moved | wrong) >= whole:
        return f"whole, as its input is not: {whole} weights for {len(moved)}"
    lost = {name for name in moved if not differ(seen[name], bare[name])}
    if lost == moved:
        return f"the bare base, for {len(moved)} weights"
    return f"{len(moved - wrong)} of {len(moved)} weights as the input"


def differ(one: torch.Tensor, two: torch.Tensor) -> bool:
    return one.shape != two.shape or not torch.allclose(one, two, rtol=0, atol=CLOSE)


def main() -> None:
    """Do what the command line says."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]))
        return
    jobs = json.loads(Path(sys.argv[2]).read_text())
    results = {
        "versions": f"PEFT {peft.__version__}, transformers {transformers.__version__}",
        "seen": [compare(job) for job in jobs],
    }
    Path(sys.argv[3]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
