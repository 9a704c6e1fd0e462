"""Situations in which `check` gives advice, for programs that load adapters."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from factories.adapters import LLM, adapter
from factories.checkpoints import HIDDEN, VOCABULARY, base, weights
from field.following import situation
from field.test_programs import named
from robustmerge.adapter.layout import written

EMBED = "model.language_model.embed_tokens"
PROJECTOR = {
    f"model.multi_modal_projector.linear_{n}.{leaf}": torch.ones(*shape)
    for n in (1, 2)
    for leaf, shape in (("weight", (6, 6)), ("bias", (6,)))
}


@situation("robustmerge export --format full")
def another_vocabulary() -> tuple[str, ...]:
    rows = {f"{n}.weight": torch.ones(VOCABULARY + 2, HIDDEN) for n in (EMBED, "lm_head")}
    adapter(Path("a"), extras=rows, modules_to_save=["embed_tokens", "lm_head"])
    base(Path("base"), text_config={"vocab_size": VOCABULARY})
    return "check a --base base --for peft", "export a -o out --format full --base base"


@situation("the base has them under other names: robustmerge merge ADAPTER -m task-arithmetic")
def other_names_in_the_base() -> tuple[str, ...]:
    adapter(Path("a"))
    flat = {n.replace("model.language_model.", "model."): t for n, t in weights().items()}
    base(Path("base"), {n: t for n, t in flat.items() if "vision" not in n and "modal" not in n})
    Path("base/config.json").write_text(json.dumps({"model_type": "llama"}))
    return (
        "check a --base base --for peft",
        "merge a -m task-arithmetic --base base -o m && check m --base base --for peft",
    )


@situation("merge with --extras-in beside, or fix modules_to_save")
def half_a_projector() -> tuple[str, ...]:
    names = list(PROJECTOR)[:2]
    adapter(
        Path("a"),
        extras={n: PROJECTOR[n] for n in names},
        modules_to_save=["multi_modal_projector"],
    )
    base(Path("base"))
    return (
        "check a --base base --for peft",
        "merge a -m task-arithmetic --extras-in beside -o m && check m --base base --for peft",
    )


@situation("rewrite it: robustmerge merge ADAPTER -o OUT -m task-arithmetic")
def ranks_by_module() -> tuple[str, ...]:
    adapter(Path("a"), use_rslora=True)
    rewrite = "merge a -o m -m task-arithmetic && check m --for"
    return (
        "check a --for vllm --for sglang --for llama.cpp",
        *(f"{rewrite} {program}" for program in ("vllm", "sglang", "llama.cpp")),
    )


@situation("bake it into the base: robustmerge export ADAPTER -o OUT --format full --base MODEL")
def projector_for_a_server() -> tuple[str, ...]:
    adapter(Path("a"), extras=PROJECTOR, modules_to_save=["multi_modal_projector"])
    base(Path("base"))
    return "check a --for vllm", "export a -o out --format full --base base"


@situation("of these, DoRA can be baked into the base")
def dora_for_a_server() -> tuple[str, ...]:
    magnitudes = {f"{n}.lora_magnitude_vector": torch.ones(s[0]) for n, s in LLM.items()}
    adapter(Path("a"), extras=magnitudes, use_dora=True)
    base(Path("base"))
    return "check a --for vllm", "export a -o out --format full --base base"


@situation("--base MODEL checks it")
def tied_or_not() -> tuple[str, ...]:
    adapter(Path("a"), modules=LLM | {"lm_head": (VOCABULARY, HIDDEN)})
    base(Path("base"), tie_word_embeddings=False)
    return "check a --for llama.cpp", "check a --for llama.cpp --base base"


@situation("name the base, --base MODEL, or merge with --layout hf")
def names_of_some_families() -> tuple[str, ...]:
    named(Path("a"), "flat")
    base(Path("base"), model_type="qwen2_vl")
    return (
        "check a --for vllm",
        "check a --for vllm --base base",
        "merge a -o m -m task-arithmetic --layout hf && check m --for vllm",
    )


@situation("merge with --layout hf")
def names_of_another_time() -> tuple[str, ...]:
    named(Path("a"), "flat")
    base(Path("base"), model_type="llava")
    return (
        "check a --for peft --base base",
        "merge a -o m -m task-arithmetic --layout hf && check m --for peft --base base",
    )


@situation("merge with --rank ")
def rank_above_any() -> tuple[str, ...]:
    adapter(Path("a"), rank=600)
    return (
        "check a --for vllm",
        "merge a -o m -m task-arithmetic --rank 512 && check m --for vllm",
    )


@situation("to lose them knowingly: ")
def tower_for_a_server() -> tuple[str, ...]:
    name = "model.vision_tower.encoder.layers.0.self_attn.q_proj"
    adapter(Path("a"), modules=LLM | {written(name, "hf"): (4, 4)})
    base(Path("base"), weights() | {f"{name}.weight": torch.ones(4, 4)})
    lost = "merge a -o m -m task-arithmetic --leave-out '*vision_tower*'"
    return (
        "check a --for sglang",
        f"{lost} && check m --for sglang",
        "export a -o out --format full --base base",
    )
