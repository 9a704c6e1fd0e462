"""vLLM: one rank from a list, the language model alone, and no LoRA on one family."""

from __future__ import annotations

from ...families import BY_NAME
from ..contents import Contents
from ..family import guess_family
from ..findings import OK, Finding, fails, note
from .shared import REWRITE, SERVER, Runtime, as_configured

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's --max-lora-rank may be."""

_DEFAULT_RANK = 16
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")


def rank_is_allowed(contents: Contents) -> Finding:
    """Check the rank: the largest one is a setting of the server, from a list."""
    rank = max((lora.rank for lora in contents.loras), default=0)
    allowed = next((r for r in RANKS if r >= rank), None)
    if allowed is None:
        return fails(f"rank {rank} is above {RANKS[-1]}", f"merge with --rank {RANKS[-1]}")
    if allowed > _DEFAULT_RANK:
        return note(f"rank {rank}", f"start the server with --max-lora-rank {allowed}")
    return OK


def uniform_scaling(contents: Contents) -> Finding:
    """Check for patterns: releases before 0.33 silently took r and lora_alpha for all modules."""
    if as_configured(contents):
        return OK
    return note("vLLM before 0.33 takes one rank and alpha for all modules", REWRITE)


def language_only(contents: Contents) -> Finding:
    """Check for modules outside the language model, which are dropped with a line in the log."""
    outside = contents.outside_language()
    if not outside:
        return OK
    return fails(
        f"{len(outside)} modules outside the language model are dropped silently, such as "
        f"{outside[0]}",
        "start the server with --enable-tower-connector-lora",
    )


def family_takes_lora(contents: Contents) -> Finding:
    """Check the family: some take no LoRA at all."""
    candidates = guess_family(contents).candidates
    if not candidates or not all(
        c in BY_NAME and "vllm" in BY_NAME[c].refused_by for c in candidates
    ):
        return OK
    return fails(f"vLLM takes no LoRA on {BY_NAME[candidates[0]].title}", "merge it into the base")


def unchanged_base(contents: Contents) -> Finding:
    """Check for initializations that changed the base weights."""
    start = contents.config.raw.get("init_lora_weights")
    if not isinstance(start, str) or start.lower() in _PLAIN_STARTS:
        return OK
    advice = "save it as plain LoRA: path_initial_model_for_weight_conversion in PEFT"
    return fails(f"init_lora_weights = {start!r} changed the base", advice)


VLLM = Runtime(
    "vllm",
    "vLLM 0.33",
    {
        "rank": rank_is_allowed,
        "patterns": uniform_scaling,
        "modules": language_only,
        "family": family_takes_lora,
        "initialization": unchanged_base,
        **SERVER,
    },
)
