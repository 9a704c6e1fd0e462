"""What the programs that load adapters ask of them: one small function for each limit.

Read in the code of PEFT 0.21, vLLM 0.33, SGLang 0.5 and llama.cpp's convert_lora_to_gguf. A limit
fails where the program refuses the adapter or computes something else with it without saying so;
where a setting of the program makes it work and it refuses loudly without, it is a note.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from ..adapter import layout
from ..adapter.keys import Part, full_name, lora_name
from ..errors import MergeError, few
from .contents import LORA, Contents, LoraPair, NamedTensor
from .family import guess
from .findings import OK, Finding, fails, note
from .peft_rules import ALL_LINEAR, lands, selects

Limit = Callable[[Contents], Finding]

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's --max-lora-rank may be."""

_VLLM_DEFAULT_RANK = 16
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
_LANGUAGE_ONLY = "train on the language model only"
_REWRITE = "rewrite it: robustmerge merge ADAPTER -m task-arithmetic"  # exact; one rank and alpha


def peft_finds_names(contents: Contents) -> Finding:
    """Tensors under names that no module has are left out with a warning, and nothing else."""
    loaded = [i for i in contents.items if i.key.part is not Part.BASE]
    lost = [i for i in loaded if not lands(contents, i)]
    if not lost:
        return OK
    kind = fails if contents.text_only is False else note
    where = "" if contents.text_only is False else " (fine if the base is text-only: --base tells)"
    return kind(
        f"with transformers since 4.52, {len(lost)} of {len(loaded)} tensors find no module, such "
        f"as {lost[0].written}{where}",
        "merge with --layout hf",
    )


def peft_selects_names(contents: Contents) -> Finding:
    """Modules are given a place by the settings; a tensor without a place is dropped silently."""
    names = {lora.written: contents.live(lora.written) for lora in contents.loras}
    raw = contents.config.raw
    lost = [
        n for w, n in names.items() if selects(raw, n) is False and selects(raw, w) is not False
    ]
    if not lost:
        return OK
    return fails(
        f"target_modules means modules by old names and selects {few(lost, 1)} no longer",
        "merge with --layout hf",
    )


def vllm_rank(contents: Contents) -> Finding:
    """The largest rank is a setting of the server, from a list."""
    rank = max((lora.rank for lora in contents.loras), default=0)
    allowed = next((r for r in VLLM_RANKS if r >= rank), None)
    if allowed is None:
        return fails(
            f"rank {rank} is above {VLLM_RANKS[-1]}", f"merge with --rank {VLLM_RANKS[-1]}"
        )
    if allowed > _VLLM_DEFAULT_RANK:
        return note(f"rank {rank}", f"start the server with --max-lora-rank {allowed}")
    return OK


def vllm_patterns(contents: Contents) -> Finding:
    """Releases before 0.33 took r and lora_alpha for every module, without saying so."""
    if _as_configured(contents):
        return OK
    return note("vLLM before 0.33 takes one rank and alpha for all modules", _REWRITE)


def vllm_towers(contents: Contents) -> Finding:
    """Weights outside the language model are dropped, with a line in the log."""
    outside = contents.outside_language()
    if not outside:
        return OK
    return fails(
        f"{len(outside)} modules outside the language model are dropped silently, such as "
        f"{outside[0]}",
        "start the server with --enable-tower-connector-lora",
    )


def vllm_family(contents: Contents) -> Finding:
    """One of the nine families takes no LoRA at all."""
    if guess(contents).candidates != ("llava_onevision",):
        return OK
    return fails("vLLM takes no LoRA on LLaVA-OneVision", "merge it into the base")


def plain_start(contents: Contents) -> Finding:
    """Initializations that replace the base weights are refused."""
    start = contents.config.raw.get("init_lora_weights")
    if not isinstance(start, str) or start.lower() in _PLAIN_STARTS:
        return OK
    advice = "save it as plain LoRA: path_initial_model_for_weight_conversion in PEFT"
    return fails(f"init_lora_weights = {start!r} changed the base", advice)


def plain_lora(contents: Contents) -> Finding:
    """DoRA and its kin compute more than s B A."""
    raw = contents.config.raw
    fields = (
        "use_dora",
        "use_bdlora",
        "use_qalora",
        "layer_replication",
        "alora_invocation_tokens",
    )
    found = [field for field in fields if raw.get(field)]
    if not found and contents.of(Part.MAGNITUDE):
        found = ["a magnitude vector"]
    return fails(f"not plain LoRA: {', '.join(found)}", "train plain LoRA") if found else OK


def no_bias(contents: Contents) -> Finding:
    """Trained biases are refused."""
    raw = contents.config.raw
    bias = raw.get("bias") or "none"
    if bias != "none" or raw.get("lora_bias") or contents.of(Part.LORA_BIAS):
        return fails("trained biases", "train with bias='none' and lora_bias=false")
    return OK


def factors_only(contents: Contents) -> Finding:
    """Parameters trained whole have no place in a server's LoRA memory."""
    found = [layout.canonical(i.written) for i in contents.whole]
    listed = contents.config.raw.get("modules_to_save")
    found = found or ([str(e) for e in listed] if isinstance(listed, list) else [])
    if not found:
        return OK
    return fails(
        f"fully trained parameters: {few(found, 1)}",
        "merge with --extras-in beside, and put them into the base",
    )


def peft_keys(contents: Contents) -> Finding:
    """Names are taken apart by position, so that they must be as PEFT writes them."""
    odd = [i.place.name for i in contents.items if i.place.name != _as_peft_writes(i)]
    odd += contents.strangers
    return fails(f"keys such as {odd[0]}", "save it again with PEFT, or merge it") if odd else OK


def sglang_scaling(contents: Contents) -> Finding:
    """Every module is scaled by lora_alpha / r of the settings."""
    if not contents.config.rslora and _as_configured(contents):
        return OK
    return fails("rsLoRA, or ranks or alphas by module", _REWRITE)


def sglang_targets(contents: Contents) -> Finding:
    """Modules are found by the last part of names in a list."""
    targets = contents.config.raw.get("target_modules")
    if isinstance(targets, list) or targets in ("all", ALL_LINEAR):
        return OK
    return fails("target_modules is a pattern", "start the server with --lora-target-modules")


def sglang_modules(contents: Contents) -> Finding:
    """Only linear layers of the language model's blocks take part."""
    outside = [
        x.name for x in contents.loras if layout.tower(x.name) != "language" or not _in_block(x)
    ]
    if not outside:
        return OK
    problem = f"{len(outside)} modules outside the language model's blocks, such as {outside[0]}"
    return fails(problem, _LANGUAGE_ONLY)


def sglang_family(contents: Contents) -> Finding:
    """Its LLaVA does not say which modules take LoRA."""
    candidates = guess(contents).candidates
    if not candidates or not all(c.startswith("llava") for c in candidates):
        return OK
    return note("SGLang's LLaVA is not made for LoRA", "compare its answers with PEFT's")


def gguf_tensors(contents: Contents) -> Finding:
    """The converter stops at tensors that are neither factors, norms nor copies of the base."""
    found = [
        layout.canonical(i.written)
        for i in contents.of(Part.FULL, Part.TOKENS, Part.LORA_BIAS)
        if "_layernorm" not in i.place.name and ".norm" not in i.place.name
    ]
    if not found:
        return OK
    return fails(f"tensors other than factors: {few(found, 1)}", "merge with --extras-in beside")


def gguf_scaling(contents: Contents) -> Finding:
    """Every module is scaled by lora_alpha / its tensors' rank."""
    alpha = contents.config.alpha
    if all(_close(_scaling(contents, x), alpha / max(x.rank, 1)) for x in contents.loras):
        return OK
    return fails("rsLoRA, or alphas by module", _REWRITE)


def gguf_language(contents: Contents) -> Finding:
    """The vision side is another file, which takes no adapter."""
    outside = contents.outside_language()
    if not outside:
        return OK
    return fails(f"modules outside the language model: {few(outside, 1)}", _LANGUAGE_ONLY)


_SERVER: Mapping[str, Limit] = {
    "plain LoRA": plain_lora,
    "biases": no_bias,
    "fully trained parameters": factors_only,
    "keys": peft_keys,
}

RUNTIMES: Mapping[str, Mapping[str, Limit]] = MappingProxyType(
    {
        "peft": {"names": peft_finds_names, "settings": peft_selects_names},
        "vllm": {
            "rank": vllm_rank,
            "patterns": vllm_patterns,
            "modules": vllm_towers,
            "family": vllm_family,
            "initialization": plain_start,
            **_SERVER,
        },
        "sglang": {
            "scaling": sglang_scaling,
            "target_modules": sglang_targets,
            "modules": sglang_modules,
            "family": sglang_family,
            **_SERVER,
        },
        "llama.cpp": {
            "tensors": gguf_tensors,
            "scaling": gguf_scaling,
            "modules": gguf_language,
            "plain LoRA": plain_lora,
            "keys": peft_keys,
        },
    }
)
"""The limits of each program."""


def judge(limit: Limit, contents: Contents) -> Finding:
    """Apply a limit; settings that cannot be read make it fail."""
    try:
        return limit(contents)
    except MergeError as error:
        return fails(error.problem, error.hint)


def _as_configured(contents: Contents) -> bool:
    """Whether every module has the rank and the scaling that r and lora_alpha give."""
    config = contents.config
    root = math.sqrt(config.rank) if config.rslora else config.rank
    return all(
        x.rank == config.rank and _close(_scaling(contents, x), config.alpha / root)
        for x in contents.loras
    )


def _scaling(contents: Contents, lora: LoraPair) -> float:
    return contents.config.scaling(lora.written, max(lora.rank, 1))


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9)


def _in_block(lora: LoraPair) -> bool:
    return any(part.isdigit() for part in lora.name.split("."))


def _as_peft_writes(item: NamedTensor) -> str:
    if item.key.part in LORA:
        return lora_name(item.key.module, item.key.part)
    if item.key.part in (Part.MAGNITUDE, Part.LORA_BIAS):
        return item.place.name
    return full_name(item.written)
