"""vLLM: one rank from a list, names by the family's own mapping, language modules unless asked.

A name that vLLM's mapping puts nowhere is left out without a word, and the bare base is served.
"""

from __future__ import annotations

import re
from types import MappingProxyType

from ...adapter import layout
from ...errors import few
from ..contents import Contents
from ..family import candidates
from ..findings import OK, Finding, fails, note
from .experts import FUSE, UNFUSE, fused_experts, single_projections, stacked_experts
from .shared import BAKE, REWRITE, SERVER, Runtime, as_configured, leave_out
from .support import Evidence, FamilySupport, Rows, agreed, evidence, rows_of

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's --max-lora-rank may be."""

_DEFAULT_RANK = 16
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
_REQUIRED = ("r", "lora_alpha", "target_modules")

_READ = Evidence("read", "vLLM 0.32", "2026-11-29")
_NEW_NAMES = (
    ("model.language_model", "language_model.model"),
    ("model.vision_tower", "vision_tower"),
    ("model.multi_modal_projector", "multi_modal_projector"),
    ("lm_head", "language_model.lm_head"),
)
_QWEN_NAMES = (
    ("model.language_model", "language_model.model"),
    ("model.visual", "visual"),
    ("lm_head", "language_model.lm_head"),
)
_OLD_TOO = (("model", "language_model.model"),)  # `model.layers` of text modules trained alone
_TOWER = "vision_tower.vision_model"


FAMILIES: Rows = MappingProxyType(
    {
        "llava": FamilySupport(
            Evidence("run", "vLLM 0.32", "2026-11-28"),
            names=_NEW_NAMES,
            towers="error",
            vision=_TOWER,
        ),
        **rows_of(
            ("llava_next", "gemma3", "paligemma"),
            FamilySupport(_READ, names=_NEW_NAMES, towers="with a setting", vision=_TOWER),
        ),
        "internvl": FamilySupport(_READ, names=_NEW_NAMES, vision="vision_tower"),
        "mistral3": FamilySupport(_READ, names=(*_NEW_NAMES, *_OLD_TOO), vision="vision_tower"),
        "qwen2_vl": FamilySupport(
            Evidence("run", "vLLM 0.32", "2026-11-29"),
            names=(*_QWEN_NAMES, *_OLD_TOO),
            towers="with a setting",
            vision="visual",
        ),
        "qwen2_5_vl": FamilySupport(
            _READ, names=(*_QWEN_NAMES, *_OLD_TOO), towers="with a setting", vision="visual"
        ),
        **rows_of(
            ("qwen3_vl", "qwen3_vl_moe"),
            FamilySupport(_READ, names=_QWEN_NAMES, towers="with a setting", vision="visual"),
        ),
        **rows_of(
            ("idefics3", "smolvlm"),
            FamilySupport(_READ, towers="with a setting", vision="model.vision_model"),
        ),
        "llava_onevision": FamilySupport(_READ, lora=False, why="its class declares no LoRA"),
        "mllama": FamilySupport(_READ, lora=False, why="the family was removed after 0.10.2"),
    }
)
"""What vLLM does with each family: `hf_to_vllm_mapper`, `SupportsLoRA`, token counts of towers."""

_FUSED = ("gpt_oss", "qwen3_vl_moe", "qwen3_5_moe", "qwen3_omni_moe", "interns1_pro")
"""Families whose class says `is_3d_moe_weight`."""
_TAKE_VOCABULARY = frozenset(
    {
        *("llama", "mistral", "mixtral", "phi3", "granite", "granitemoe", "cohere", "nemotron"),
        *("qwen3", "qwen3_moe", "qwen3_vl_text", "qwen3_vl_moe_text"),
    }
)
_TAKE_NO_VOCABULARY = frozenset(
    {
        *("qwen2", "qwen2_moe", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"),
        *("gemma", "gemma2", "gemma3", "gemma3_text"),
    }
)
"""Text models by whether their class has `embedding_modules`: LLaVA and Qwen2-VL were run."""
_HEADLESS = ("idefics3", "smolvlm")
"""Families whose text model is no class of its own with a head, and has none of these."""
_CLIP_LIKE = ("llava", "llava_next", "llava_onevision", "gemma3", "paligemma")
_UNWRAPPED = re.compile(r"(model\.)?vision_tower\.(embeddings|encoder\.layers)\b")


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
    """Check for patterns, which 0.32 takes and older releases did not."""
    if as_configured(contents):
        return OK
    return note("vLLM before 0.32 takes one rank and alpha for all modules", REWRITE)


def names_land(contents: Contents) -> Finding:
    """Check that every name means a module of vLLM's model; others are left out silently."""
    written = [lora.written for lora in contents.loras]
    if contents.text_only:
        lost = [name for name in written if name != contents.live(name)]
        return _lost(lost, written, "the base is text-only", "--layout flat") if lost else OK
    names = candidates(contents)
    rows = [FAMILIES[name] for name in names if name in FAMILIES]
    lost_by = [[name for name in written if not row.lands(name)] for row in rows if row.lora]
    lost = min(lost_by, key=len, default=[])
    if lost and len(lost_by) == len(names):
        return _lost(lost, written, _title(names) + evidence(contents, FAMILIES), "--layout hf")
    unsure = any(lost_by) or (len(rows) < len(names) or not names)
    flat = [name for name in written if name.startswith(("model.layers", "model.embed_tokens"))]
    if not flat or not unsure:
        return OK
    return note(
        f"flat names such as {flat[0]} mean a module in a text-only model and in some families, "
        "and are left out without a word in others",
        "name the base, --base MODEL, or merge with --layout hf",
    )


def language_only(contents: Contents) -> Finding:
    """Check for modules outside the language model, which are dropped with a line in the log."""
    outside = contents.outside_language()
    if not outside:
        return OK
    text = f"{len(outside)} modules outside the language model are dropped silently, such as "
    text += outside[0]
    towers = agreed(contents, FAMILIES, lambda row: row.towers)
    known = evidence(contents, FAMILIES)
    if towers == "left out":
        return fails(f"{text}, whatever the server's settings{known}", leave_out(outside))
    if towers == "error":
        return fails(
            f"{text}; with --enable-tower-connector-lora the server stops at the first image, "
            f"since it does not count the tower's class token{known}",
            leave_out(outside),
        )
    flag = "start the server with --enable-tower-connector-lora"
    if towers is None:
        return fails(text, f"{flag}, if the family takes it: --base MODEL checks it")
    lost = _lost_in_tower(contents)
    if lost:
        return fails(
            f"{text}; with {flag.rpartition(' ')[2]} {len(lost)} of them still are, since vLLM "
            f"names them otherwise{known}",
            leave_out(outside),
        )
    return fails(text, flag)


def vocabulary_is_taken(contents: Contents) -> Finding:
    """Check for LoRA on embeddings or head, at which vLLM stops unless the text model takes it."""
    ends = ("embed_tokens", "lm_head")
    names = [x.written for x in contents.loras if x.name.rpartition(".")[2] in ends]
    if not names:
        return OK
    families, kind = candidates(contents), contents.text_kind
    by_family = bool(families) and all(f in (*_TAKE_NO_VOCABULARY, *_HEADLESS) for f in families)
    if kind in _TAKE_VOCABULARY and not by_family:
        return OK
    text = f"LoRA on {few(names)}"
    if by_family or kind in _TAKE_NO_VOCABULARY:
        patterns = " ".join(f"--leave-out '*{e}*'" for e in ends if any(e in n for n in names))
        return fails(
            f"{text}: vLLM stops, since it takes none on the vocabulary of "
            f"{kind or _title(families)} ({_READ})",
            f"to lose it knowingly: {REWRITE.partition(': ')[2]} {patterns}; or {BAKE}",
        )
    return note(
        f"{text}, which vLLM takes for some text models, such as {few(sorted(_TAKE_VOCABULARY))}, "
        "and stops at for others",
        "--base MODEL checks it",
    )


def experts_land(contents: Contents) -> Finding:
    """Check the layout of experts: a family takes them fused, or one by one, and not both."""
    names, fused = candidates(contents), fused_experts(contents)
    known = f" ({_READ})"
    if problem := stacked_experts(contents):
        return note(f"{problem}; whether vLLM takes them was not read", UNFUSE)
    if fused and not names:
        return note(
            f"fused experts such as {fused[0]} are taken for {few(_FUSED)}, others one by one",
            "--base MODEL checks it",
        )
    if fused and not any(name in _FUSED for name in names):
        return fails(
            f"vLLM takes the experts of {_title(names)} one by one, and these are fused, such as "
            f"{fused[0]}{known}; with --enable-mixed-moe-lora-format, and is_3d_lora_weight in the "
            "request, it takes them, too",
            UNFUSE,
        )
    single = single_projections(contents)
    if single and names and all(name in _FUSED for name in names):
        return fails(
            f"vLLM takes the experts of {_title(names)} fused, and stops at {single[0]}{known}",
            FUSE,
        )
    return OK


def family_takes_lora(contents: Contents) -> Finding:
    """Check the family: some take no LoRA at all."""
    if agreed(contents, FAMILIES, lambda row: row.lora) is not False:
        return OK
    names = candidates(contents)
    why = FAMILIES[names[0]].why
    return fails(
        f"vLLM takes no LoRA on {_title(names)}: {why}{evidence(contents, FAMILIES)}",
        BAKE,
    )


def base_loads(contents: Contents) -> Finding:
    """Check the base's own names: towers saved by transformers 5 have a level less."""
    if contents.base is None or contents.base.family not in _CLIP_LIKE:
        return OK
    new = [r.name for r in contents.base.tensors.values() if _UNWRAPPED.match(r.name)]
    if not new:
        return OK
    return fails(
        f"vLLM 0.32 does not load this base: it wants {_TOWER}, and transformers 5 saved {new[0]}",
        "serve the original checkpoint of the Hub, or one that transformers 4 saved",
    )


def unchanged_base(contents: Contents) -> Finding:
    """Check for initializations that changed the base weights."""
    start = contents.config.raw.get("init_lora_weights")
    if not isinstance(start, str) or start.lower() in _PLAIN_STARTS:
        return OK
    advice = "save it as plain LoRA: path_initial_model_for_weight_conversion in PEFT"
    return fails(f"init_lora_weights = {start!r} changed the base", advice)


def settings_are_complete(contents: Contents) -> Finding:
    """Check for the settings without which vLLM refuses an adapter."""
    missing = [field for field in _REQUIRED if field not in contents.config.raw]
    if not missing:
        return OK
    return fails(f"adapter_config.json has no {few(missing)}, which vLLM requires", REWRITE)


def _lost(lost: list[str], written: list[str], where: str, layout_option: str) -> Finding:
    return fails(
        f"{len(lost)} of {len(written)} modules have names that vLLM leaves out without a word, "
        f"such as {lost[0]}: {where}",
        f"merge with {layout_option}",
    )


def _lost_in_tower(contents: Contents) -> list[str]:
    """Return the modules of the tower whose names lead nowhere in any candidate."""
    rows = [FAMILIES[name] for name in candidates(contents)]
    tower = [x.written for x in contents.loras if layout.tower(x.name) == "vision"]
    return [n for n in tower if not any(r.program_name(n).startswith(r.vision) for r in rows)]


def _title(names: tuple[str, ...]) -> str:
    return " or ".join(names)


VLLM = Runtime(
    "vllm",
    "vLLM 0.32",
    {
        "rank": rank_is_allowed,
        "patterns": uniform_scaling,
        "names": names_land,
        "modules": language_only,
        "vocabulary": vocabulary_is_taken,
        "experts": experts_land,
        "family": family_takes_lora,
        "base": base_loads,
        "initialization": unchanged_base,
        "settings": settings_are_complete,
        **SERVER,
    },
)
