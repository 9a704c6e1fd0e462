"""llama.cpp's convert_lora_to_gguf: factors alone, one scaling, the language model alone."""

from __future__ import annotations

from ...adapter import layout
from ...adapter.keys import Part
from ...errors import few
from ..contents import Contents
from ..findings import OK, Finding, fails
from .shared import LANGUAGE_ONLY, REWRITE, Runtime, is_close, peft_keys, plain_lora, scaling


def convertible_tensors(contents: Contents) -> Finding:
    """Check for tensors at which the converter stops: all but factors, norms, and base copies."""
    others = [
        layout.canonical(i.written)
        for i in contents.of(Part.FULL, Part.TOKENS, Part.LORA_BIAS)
        if "_layernorm" not in i.ref.name and ".norm" not in i.ref.name
    ]
    if not others:
        return OK
    return fails(f"tensors other than factors: {few(others, 1)}", "merge with --extras-in beside")


def scaling_by_alpha(contents: Contents) -> Finding:
    """Check that every module is scaled by lora_alpha / its tensors' rank."""
    alpha = contents.config.alpha
    if all(is_close(scaling(contents, x), alpha / max(x.rank, 1)) for x in contents.loras):
        return OK
    return fails("rsLoRA, or alphas by module", REWRITE)


def language_only(contents: Contents) -> Finding:
    """Check that only the language model is adapted: the vision tower's file takes no adapter."""
    outside = contents.outside_language()
    if not outside:
        return OK
    return fails(f"modules outside the language model: {few(outside, 1)}", LANGUAGE_ONLY)


LLAMA_CPP = Runtime(
    "llama.cpp",
    "llama.cpp's convert_lora_to_gguf.py",
    {
        "tensors": convertible_tensors,
        "scaling": scaling_by_alpha,
        "modules": language_only,
        "plain LoRA": plain_lora,
        "keys": peft_keys,
    },
)
