"""SGLang: one scaling, listed targets, the language model's blocks, vocabulary, and whole groups.

It fuses q, k and v of a block, and gate and up. What a fused layer is not complete for is an error
or left out without a word.
"""

from __future__ import annotations

import re
from collections import defaultdict
from types import MappingProxyType

from ...adapter import layout
from ...adapter.stacked import SHARED
from ...errors import few
from ..contents import Contents, LoraPair
from ..family import candidates
from ..findings import OK, Finding, fails, note
from ..peft_rules import ALL_LINEAR, entries
from .experts import SGLANG_NAMES, fused_experts
from .shared import BAKE, REWRITE, SERVER, Runtime, as_configured, leave_out
from .support import Evidence, FamilySupport, Rows, evidence, rows_of

_READ = Evidence("read", "SGLang 0.5.23", "2026-11-29")
_VOCABULARY = ("embed_tokens", "lm_head")
_PROJECTIONS = ("gate_proj", "up_proj", "down_proj", "gate_up_proj")
_EXPERT = re.compile(r"\.experts\.\d+\.")
_ROUTERS = ("gate", "router")


FAMILIES: Rows = MappingProxyType(
    {
        **rows_of(
            ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "gemma3"), FamilySupport(_READ)
        ),
        **rows_of(
            ("llava", "llava_next", "llava_onevision", "internvl", "mllama"),
            FamilySupport(_READ, why="its class does not say which modules take LoRA"),
        ),
        **rows_of(
            ("idefics3", "smolvlm", "paligemma", "mistral3"),
            FamilySupport(_READ, why="there is no class of its own for this family"),
        ),
    }
)
"""What SGLang does with each family: a class, and `should_apply_lora` in it."""


def uniform_scaling(contents: Contents) -> Finding:
    """Check that every module is scaled by lora_alpha / r of the settings."""
    if not contents.config.rslora and as_configured(contents):
        return OK
    return fails("rsLoRA, or ranks or alphas by module", REWRITE)


def listed_targets(contents: Contents) -> Finding:
    """Check that target_modules is a list, by whose last parts of names modules are matched."""
    targets = contents.config.raw.get("target_modules")
    if isinstance(targets, list) or targets in ("all", ALL_LINEAR):
        return OK
    problem = "target_modules is a pattern" if targets else "no target_modules"
    return fails(f"{problem}, which SGLang refuses", REWRITE)


def language_only(contents: Contents) -> Finding:
    """Check that only blocks and vocabulary of the language model are adapted."""
    outside = [x.name for x in contents.loras if not _is_taken(x)]
    if not outside:
        return OK
    return fails(
        f"{len(outside)} modules outside the language model's blocks and vocabulary, such as "
        f"{outside[0]}",
        leave_out(outside),
    )


def vocabulary_is_listed(contents: Contents) -> Finding:
    """Check that LoRA on the vocabulary is in target_modules; it is left out silently if not."""
    targets = contents.config.raw.get("target_modules")
    if not isinstance(targets, list):
        return OK
    listed = {entry.rpartition(".")[2] for entry in entries(contents.config.raw, "target_modules")}
    lost = [x.name for x in contents.loras if _leaf(x) in _VOCABULARY and _leaf(x) not in listed]
    if not lost:
        return OK
    return fails(f"{few(lost)} is not in target_modules and is left out without a word", REWRITE)


def fused_layers_are_complete(contents: Contents) -> Finding:
    """Check the parts of every fused layer."""
    parts: dict[str, set[str]] = defaultdict(set)
    for lora in filter(_is_taken, contents.loras):
        parts[lora.name.rpartition(".")[0]].add(_leaf(lora))
    for parent, leaves in parts.items():
        if problem := _incomplete(leaves):
            return fails(f"{parent} has {problem}", BAKE)
    return OK


def experts_land(contents: Contents) -> Finding:
    """Check the names of experts: by the end of a name it knows what a tensor is of."""
    if fused := fused_experts(contents):
        return fails(
            f"fused experts such as {fused[0]} are left out with a warning ({_READ})", SGLANG_NAMES
        )
    single = [x.name for x in contents.loras if _EXPERT.search(x.name)]
    if odd := [name for name in single if name.rpartition(".")[2] not in _PROJECTIONS]:
        return fails(f"{odd[0]}: SGLang has no module of that name ({_READ})", SGLANG_NAMES)
    if problem := _mixed_axes(contents):
        return fails(f"{problem} ({_READ})", SGLANG_NAMES)
    routers = [x.name for x in contents.loras if _leaf(x) in _ROUTERS]
    if routers:
        return fails(
            f"LoRA on routers, such as {routers[0]}, which SGLang does not take ({_READ})",
            f"to lose it knowingly: {REWRITE.partition(': ')[2]} "
            f"--leave-out '*.{routers[0].rpartition('.')[2]}'; or {BAKE}",
        )
    return OK


def _mixed_axes(contents: Contents) -> str:
    """Say where the 3-D factors of experts share other sides than SGLang's: all outer ones or none.

    By A of gate and up it decides for all modules, and stops where another does not go with it.
    """
    layers = contents.stacked.values()
    odd = [x for x in layers if x.shared not in (None, SHARED[x.layer])]
    if not odd and len({x.shared is None for x in layers}) < 2:
        return ""
    first = next(iter(odd or layers)).written
    return f"{first}: experts share other sides than A of gate and up and B of down, or not in all"


def family_declares_lora(contents: Contents) -> Finding:
    """Check the family: some classes do not declare which modules take LoRA, and some are none."""
    names = candidates(contents)
    reasons = [FAMILIES[name].why for name in names if name in FAMILIES]
    if not reasons or not all(reasons) or len(reasons) < len(names):
        return OK
    return note(
        f"SGLang on {' or '.join(names)}: {reasons[0]}{evidence(contents, FAMILIES)}",
        "compare its answers with PEFT's",
    )


def _incomplete(leaves: set[str]) -> str:
    """Say what a block's fused layers are missing, '' where nothing."""
    if "q_proj" in leaves and "v_proj" not in leaves:
        return "q_proj without v_proj: loading ends in a KeyError"
    if "q_proj" not in leaves and (lost := sorted(leaves & {"k_proj", "v_proj"})):
        return f"{few(lost)} without q_proj, which is left out without a word"
    if "up_proj" in leaves and "gate_proj" not in leaves:
        return "up_proj without gate_proj, which the fused layer does not take"
    return ""


def _is_taken(lora: LoraPair) -> bool:
    if _leaf(lora) in _VOCABULARY:
        return True
    in_block = any(part.isdigit() for part in lora.name.split("."))
    return in_block and layout.tower(lora.name) == "language"


def _leaf(lora: LoraPair) -> str:
    return lora.name.rpartition(".")[2]


SGLANG = Runtime(
    "sglang",
    "SGLang 0.5.23",
    {
        "scaling": uniform_scaling,
        "target_modules": listed_targets,
        "vocabulary": vocabulary_is_listed,
        "modules": language_only,
        "fused layers": fused_layers_are_complete,
        "experts": experts_land,
        "family": family_declares_lora,
        **SERVER,
    },
)
