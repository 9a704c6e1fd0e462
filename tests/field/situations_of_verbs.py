"""Situations in which the other commands give advice."""

from __future__ import annotations

import json
from pathlib import Path

import peft
import torch
from safetensors.torch import save_file

from derive.test_convert import ALL, SUMS, start, trained
from derive.test_experts import qwen, trained as trained_experts
from export.test_original import SETTINGS as ORIGINAL
from factories.adapters import LLM, adapter
from factories.checkpoints import HIDDEN, VOCABULARY, base, weights
from field.following import pair, run_quietly, situation

EMBED = "model.language_model.embed_tokens"
DOWN = "model.language_model.layers.0.mlp.down_proj.weight"
ROWS = {f"{n}.weight": torch.ones(VOCABULARY + 2, HIDDEN) for n in (EMBED, "lm_head")}


# --- diagnose, export, extract --------------------------------------------------------------------


@situation("name it NAME.html or NAME.json; for a folder say --format md or --format png")
def unknown_report() -> tuple[str, ...]:
    pair()
    return (
        "diagnose a b -o report.txt",
        "diagnose a b -o report.json",
    )


@situation("--merged is for merges of these adapters")
def another_merge() -> tuple[str, ...]:
    pair()
    adapter(Path("c"), modules={"model.language_model.layers.7.mlp.up_proj": (4, 4)})
    run_quietly("merge a b -o ours")
    return "diagnose a b --merged c", "diagnose a b --merged ours"


@situation("name the base of the adapters, not quantized, or omit --base")
def base_of_others() -> tuple[str, ...]:
    pair()
    base(Path("other"), {"model.language_model.norm.weight": torch.ones(HIDDEN)})
    base(Path("base"))
    return "diagnose a b --base other", "diagnose a b --base base", "diagnose a b"


@situation("-m task-arithmetic --leave-out PATTERN does it")
def parts_of_another_format() -> tuple[str, ...]:
    adapter(Path("a"))
    base(Path("base"))
    return (
        "export a -o out --format full --base base --leave-out '*q_proj*'",
        "merge a -o out -m task-arithmetic --leave-out '*q_proj*'",
    )


@situation("--format embedded, --format original, --format full or --format gguf")
def no_format() -> tuple[str, ...]:
    adapter(Path("a"))
    base(Path("base"))
    return (
        "export a -o out",
        "export a -o out --format embedded --base base",
        "export a -o out --format full --base base",
    )


@situation("--format embedded or --format full take any model")
def no_original() -> tuple[str, ...]:
    adapter(Path("a"), modules={"model.visual.blocks.0.attn.qkv": (4, 4)} | LLM)
    tensors = weights() | {"model.visual.blocks.0.attn.qkv.weight": torch.ones(4, 4)}
    base(Path("base"), tensors, model_type="qwen2_vl")
    return (
        "export a -o llava-lora --format original",
        "export a -o out --format embedded --base base",
        "export a -o out --format full --base base",
    )


@situation("--base names the original model, such as ")
def original_settings() -> tuple[str, ...]:
    adapter(Path("a"))
    base(Path("base"))
    Path("original").mkdir()
    Path("original/config.json").write_text(json.dumps(ORIGINAL))
    return (
        "export a -o llava-lora-x --format original --base base",
        "export a -o llava-lora-x --format original --base original",
    )


@situation("--format full grows the base with the adapter")
def grown_export() -> tuple[str, ...]:
    rows = {f"{EMBED}.weight": torch.ones(VOCABULARY + 2, HIDDEN)}
    rows["lm_head.weight"] = torch.ones(VOCABULARY + 2, HIDDEN)
    adapter(Path("a"), extras=rows, modules_to_save=["embed_tokens", "lm_head"])
    base(Path("base"), text_config={"vocab_size": VOCABULARY})
    base(Path("grown"), weights() | rows, text_config={"vocab_size": VOCABULARY + 2})
    return (
        "export a -o out --format embedded --base base",
        "export a -o out --format full --base base",
        "export a -o out --format embedded --base grown",
    )


@situation("--rank energy:0.95, or a number")
def nothing_above_the_cut() -> tuple[str, ...]:
    base(Path("base"))
    noise = torch.randn(weights()[DOWN].shape, generator=torch.Generator().manual_seed(1))
    base(Path("tuned"), weights() | {DOWN: weights()[DOWN] + noise})
    extract = "extract tuned --base base -o out --rank"
    return f"{extract} gavish-donoho", f"{extract} energy:0.95", f"{extract} 2"


@situation("name the fine-tuned model, and its base by --base")
def same_models() -> tuple[str, ...]:
    base(Path("base"))
    base(Path("tuned"), weights() | {DOWN: 2 * weights()[DOWN]})
    return "extract base --base base -o out --rank 2", "extract tuned --base base -o out --rank 2"


@situation("--base is the model that the fine-tuning started from")
def other_start() -> tuple[str, ...]:
    base(Path("base"))
    base(Path("tuned"), weights() | {DOWN: 2 * weights()[DOWN]})
    base(Path("other"), weights() | {DOWN: torch.ones(2, 2)})
    return (
        "extract tuned --base other -o out --rank 2",
        "extract tuned --base base -o out --rank 2",
    )


@situation("as the fine-tuning did, and save it")
def grown_fine_tune() -> tuple[str, ...]:
    base(Path("base"))
    base(Path("grown"), weights() | ROWS)
    base(Path("tuned"), weights() | ROWS | {DOWN: 2 * weights()[DOWN]})
    return (
        "extract tuned --base base -o out --rank 2",
        "extract tuned --base grown -o out --rank 2",
    )


@situation("--base names it")
def base_without_a_name() -> tuple[str, ...]:
    adapter(Path("a"), base_model_name_or_path=None)
    base(Path("base"))
    return "export a -o out --format full", "export a -o out --format full --base base"


@situation("--base names the folder or Hub id where it is")
def base_that_is_elsewhere() -> tuple[str, ...]:
    adapter(Path("a"), base_model_name_or_path="./gone")
    base(Path("base"))
    return "export a -o out --format full", "export a -o out --format full --base base"


@situation("--base is the folder or Hub id of the model that the adapter was trained on")
def folder_without_settings() -> tuple[str, ...]:
    adapter(Path("a"))
    base(Path("base"))
    base(Path("bare"))
    Path("bare/config.json").unlink()
    return (
        "export a -o out --format embedded --base bare",
        "export a -o out --format embedded --base base",
    )


@situation("name the model in float32, float16 or bfloat16 by --base")
def unread_quantization() -> tuple[str, ...]:
    adapter(Path("a"))
    base(Path("base"))
    base(Path("small"), quantization_config={"quant_method": "eetq"})
    return (
        "export a -o out --format full --base small",
        "export a -o out --format full --base base",
    )


@situation("--base is the model in float32, float16 or bfloat16")
def whole_numbers() -> tuple[str, ...]:
    adapter(Path("a"))
    base(Path("base"))
    base(Path("small"), weights() | {DOWN: weights()[DOWN].to(torch.int32)})
    return (
        "export a -o out --format full --base small",
        "export a -o out --format full --base base",
    )


@situation("merge with a smaller --scale, or save the base in float32 or bfloat16 first")
def too_large_for_the_base() -> tuple[str, ...]:
    adapter(Path("a"), alpha=1e6)
    for dtype in (torch.float16, torch.float32, torch.bfloat16):
        base(Path(f"{dtype}"[6:]), {n: t.to(dtype) for n, t in weights().items()})
    export = "-o out --format full --base"
    return (
        f"export a {export} float16",
        f"export a {export} float32",
        f"export a {export} bfloat16",
        f"merge a -o m -m task-arithmetic --scale 1e-6 && export m {export} float16",
    )


def original(width: int = 0) -> None:
    """Write the settings of an original base."""
    sizes = {"hidden_size": width, "intermediate_size": 40} if width else {}
    sizes = {"hidden_size": width, "intermediate_size": 40} if width else {}
    Path("original").mkdir()
    Path("original/config.json").write_text(json.dumps(ORIGINAL | sizes))


@situation("--base names the original model of the same size")
def original_of_another_size() -> tuple[str, ...]:
    adapter(Path("a"), modules={n: s for n, s in LLM.items() if "down_proj" in n})
    original(99)
    Path("right").mkdir()
    Path("right/config.json").write_text(json.dumps(ORIGINAL))
    export = "export a -o llava-lora --format original --base"
    return f"{export} original", f"{export} right"


@situation("it adapts the language model's linear layers; --format full bakes all")
def original_with_a_tower() -> tuple[str, ...]:
    name = "model.vision_tower.encoder.layers.0.self_attn.q_proj"
    adapter(Path("a"), modules=LLM | {name: (4, 4)})
    base(Path("base"), weights() | {f"{name}.weight": torch.ones(4, 4)})
    original()
    return (
        "export a -o llava-lora --format original --base original",
        "export a -o out --format full --base base",
    )


# --- convert --------------------------------------------------------------------------------------


@situation("only LoRA adapters are merged; `robustmerge convert` makes LoRA of others")
def another_kind() -> tuple[str, ...]:
    trained(Path(), SUMS["LoHa"][0])
    return "merge kind -o m", "convert kind -o lora --base base && merge lora -o m"


@situation("`robustmerge convert` with --base or --initial makes plain LoRA of it")
def changed_base() -> tuple[str, ...]:
    trained(Path(), peft.LoraConfig(r=3, init_lora_weights="pissa", **ALL))
    return (
        "merge kind -o m",
        "convert kind -o lora --initial initial && merge lora -o m",
        "convert kind -o lora --base base && merge lora -o m",
    )


@situation("--dora mean merges the updates and averages the scales")
def dora() -> tuple[str, ...]:
    trained(Path(), peft.LoraConfig(r=3, use_dora=True, **ALL))
    return "merge kind -o m", "merge kind -o m --dora mean"


@situation("--rank energy:0.95 or a number says how much")
def full_rank() -> tuple[str, ...]:
    trained(Path(), peft.LoraConfig(r=3, use_dora=True, **ALL))
    convert = "convert kind -o lora --base base"
    return convert, f"{convert} --rank energy:0.95", f"{convert} --rank 2"


@situation("--base MODEL names the model that it was trained from")
def depends_on_the_base() -> tuple[str, ...]:
    trained(Path(), peft.LoraConfig(r=3, use_dora=True, **ALL))
    return "convert kind -o lora --rank 2", "convert kind -o lora --rank 2 --base base"


@situation("--base MODEL, of which headers alone are read")
def unknown_inputs() -> tuple[str, ...]:
    trained(Path(), SUMS["MiSS"][0])
    return "convert kind -o lora", "convert kind -o lora --base base"


@situation("--base is the model that the adapter was trained on")
def base_without_the_layer() -> tuple[str, ...]:
    trained(Path(), SUMS["LoHa"][0])
    base(Path("other"))
    return "convert kind -o lora --base other", "convert kind -o lora --base base"


@situation("--initial is the folder that was saved before the first step")
def another_start() -> tuple[str, ...]:
    trained(Path(), peft.LoraConfig(r=3, init_lora_weights="pissa", **ALL))
    adapter(Path("other"))
    return "convert kind -o lora --initial other", "convert kind -o lora --initial initial"


@situation(" out; `robustmerge resize` changes a rank")
def layout_and_rank() -> tuple[str, ...]:
    trained_experts(qwen, Path("a"), 1)
    return (
        "convert a -o b --layout experts --rank 2",
        "convert a -o b --layout experts && resize b -o c --rank 2",
    )


def experts(folder: str, *numbers: int, **options: object) -> None:
    """An adapter on single experts."""
    names = [f"model.layers.0.mlp.experts.{n}.down_proj" for n in numbers]
    adapter(Path(folder), modules=dict.fromkeys(names, (6, 4)), **options)  # type: ignore[arg-type]


@situation("merge with --missing zero, so that every expert has an update")
def missing_expert() -> tuple[str, ...]:
    experts("a", 0, 2)
    experts("b", 0, 1, 2)
    return (
        "convert a -o c --layout fused",
        "merge a b -o m --missing zero && convert m -o c --layout fused",
    )


@situation("merge_and_unload, save that model, and `robustmerge extract` makes a LoRA of it")
def kind_that_is_not_converted() -> tuple[str, ...]:
    trained(Path(), peft.LoHaConfig(r=2, alpha=3, init_weights=False, **ALL))
    live = peft.PeftModel.from_pretrained(start(), "kind").merge_and_unload()
    Path("baked").mkdir()
    save_file(live.state_dict(), "baked/model.safetensors")
    path = Path("kind/adapter_config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"bias": "all"}))
    return "convert kind -o lora --base base", "extract baked --base base -o lora --rank 4"
