"""llama.cpp: its converter takes factors of the language model, under one scaling.

`convert_lora_to_gguf.py` leaves vision tower and projector out without a word, and the program
itself leaves out norms. LoRA on the vocabulary needs an embedding and a head that are two weights.
"""

from __future__ import annotations

import re
from types import MappingProxyType

from ...adapter import layout
from ...adapter.keys import Part
from ...errors import few
from ..contents import Contents
from ..family import candidates
from ..findings import OK, Finding, fails, note
from .experts import UNFUSE, fused_experts, stacked_are_read
from .shared import BAKE, REWRITE, Runtime, is_close, leave_out, peft_keys, plain_lora, scaling
from .support import Evidence, FamilySupport, Rows, agreed, evidence, rows_of

_RUN = Evidence("run", "llama.cpp of October 2026", "2026-11-28")
_READ = Evidence("read", "llama.cpp of October 2026", "2026-11-29")
_GGUF = "robustmerge export ADAPTER -o OUT --format gguf --base MODEL needs no converter"
_NORM = re.compile(r"(_layernorm|\.norm|_norm)\b")

FAMILIES: Rows = MappingProxyType(
    {
        "llava": FamilySupport(_RUN),
        **rows_of(
            ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "gemma3", "mistral3"),
            FamilySupport(_READ),
        ),
        **rows_of(
            ("llava_next", "llava_onevision", "internvl", "idefics3", "smolvlm", "paligemma"),
            FamilySupport(_READ, text_architecture=True),
        ),
        "mllama": FamilySupport(_READ, lora=False, why="it has no such architecture"),
    }
)
"""Which families the converter finds a language model in (`TEXT_MODEL_MAP`)."""


def convertible_tensors(contents: Contents) -> Finding:
    """Check for tensors other than factors: some stop the converter, others are left out."""
    others = contents.of(Part.FULL, Part.TOKENS, Part.LORA_BIAS)
    names = [layout.canonical(i.written) for i in others]
    silent = [n for n in names if _NORM.search(n) or layout.tower(n) in ("vision", "connector")]
    if stopping := [n for n in names if n not in silent]:
        return fails(f"the converter stops at {few(stopping, 1)}, which is no factor", BAKE)
    if silent:
        return fails(f"fully trained parameters left out without a word: {few(silent, 1)}", BAKE)
    return OK


def experts_are_single(contents: Contents) -> Finding:
    """Check that experts are not fused: the converter stops at those that are."""
    if not (fused := fused_experts(contents)):
        return OK
    return fails(f"the converter stops at fused experts, such as {fused[0]}", f"{UNFUSE}; {_GGUF}")


def scaling_by_alpha(contents: Contents) -> Finding:
    """Check that every module is scaled by lora_alpha / its tensors' rank."""
    alpha = contents.config.alpha
    if all(is_close(scaling(contents, x), alpha / max(x.rank, 1)) for x in contents.loras):
        return OK
    return fails("rsLoRA, or alphas by module", f"{REWRITE}; or {_GGUF}")


def language_only(contents: Contents) -> Finding:
    """Check that only the language model is adapted: the vision tower's file takes no adapter."""
    outside = contents.outside_language()
    if not outside:
        return OK
    return fails(
        f"{len(outside)} modules outside the language model are left out without a word, such as "
        f"{outside[0]}",
        leave_out(outside),
    )


def vocabulary_is_untied(contents: Contents) -> Finding:
    """Check LoRA on embeddings or head: with one weight for both it aborts or is refused."""
    names = [x.name for x in contents.loras]
    embeddings = [n for n in names if n.endswith("embed_tokens")]
    heads = [n for n in names if n.endswith("lm_head")]
    if not embeddings and not heads:
        return OK
    tied = contents.base_is_tied
    if tied is False:
        return OK
    what = (
        f"LoRA on {embeddings[0]} makes it abort at the first token"
        if embeddings
        else f"LoRA on {heads[0]} is refused"
    )
    if tied is None:
        return note(f"{what} where the base ties its embeddings", "--base MODEL checks it")
    return fails(f"{what}, since the base ties its embeddings ({_RUN})", BAKE)


def family_is_converted(contents: Contents) -> Finding:
    """Check that the converter finds the language model of the family."""
    names, known = candidates(contents), evidence(contents, FAMILIES)
    if agreed(contents, FAMILIES, lambda row: row.lora) is False:
        why = FAMILIES[names[0]].why
        return fails(f"llama.cpp does not load {names[0]}: {why}{known}", "use PEFT")
    if not agreed(contents, FAMILIES, lambda row: row.text_architecture):
        return OK
    problem = (
        f"the converter finds the language model of {' or '.join(names)} only where text_config "
        "in the base's config.json names its architectures"
    )
    if contents.base is None:
        return note(problem + known, "--base MODEL checks it")
    text = contents.base_settings.get("text_config")
    architectures = text.get("architectures") if isinstance(text, dict) else None
    if architectures:
        return OK
    return fails(
        f"{problem}, and it does not{known}",
        f"{_GGUF}; or add it to a copy of config.json, such as "
        '"text_config": {"architectures": ["LlamaForCausalLM"], …}',
    )


LLAMA_CPP = Runtime(
    "llama.cpp",
    "llama.cpp of October 2026 and its convert_lora_to_gguf.py",
    {
        "tensors": convertible_tensors,
        "experts": experts_are_single,
        "experts' axes": stacked_are_read,
        "scaling": scaling_by_alpha,
        "modules": language_only,
        "vocabulary": vocabulary_is_untied,
        "family": family_is_converted,
        "plain LoRA": plain_lora,
        "keys": peft_keys,
    },
)
