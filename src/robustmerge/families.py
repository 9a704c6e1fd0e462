"""The families of vision-language models, one row for each: the only file that a new one touches.

A family is called as transformers calls it (`model_type`). Everything that differs between them and
matters to an adapter is in its row: where the language model, the vision tower and the connector
are, what their modules were called in older layouts, what PEFT renames. What runtimes do with a
family is in `checks/runtimes`.

    hf      model.language_model.layers.0 …    what transformers and PEFT write now
    hf-old  language_model.model.layers.0 …    LLaVA, InternVL, Gemma3, … before transformers 4.52
    flat    model.layers.0 …, visual.blocks …  Qwen2-VL and 2.5 before 4.52; text-only models
    llava   model.layers.0 …, model.mm_projector.0   the original LLaVA code
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

HF, HF_OLD, FLAT, LLAVA = "hf", "hf-old", "flat", "llava"
LAYOUTS = (HF, HF_OLD, FLAT, LLAVA)
"""Ways to name the modules of one model; names in `hf` are the canonical ones."""

Prefixes = tuple[tuple[str, str], ...]
"""Pairs of prefixes of dotted names: the one that is replaced, and the one put in its place."""


@dataclass(frozen=True)
class Anatomy:
    """The parts of a model and their names; several families share one.

    Attributes:
        language: Segment of canonical names that the language model is under.
        vision: Segment that the vision tower is under.
        connector: Segment of what lies between the two, '' where that is a part of the tower.
        written: By layout, canonical prefixes and what that layout writes instead.
        read: Prefixes of other spellings, which are only read, and the canonical ones.
        peft_renames: Old prefixes that PEFT renames for LoRA tensors, and only for those.
        peft_unwraps: Old prefixes that PEFT renames for any tensor.
        readers: Modules of a layer that read the residual stream, by the last segment of their
            names; those of one group read it at one place, and so the same input.
        earlier: Canonical prefixes and what transformers 4.52 to 4.57 called them, with which both
            generations load a tensor.
    """

    language: str
    vision: str
    connector: str = ""
    written: Mapping[str, Prefixes] = field(default_factory=dict)
    read: Prefixes = ()
    peft_renames: tuple[str, ...] = ()
    peft_unwraps: tuple[str, ...] = ()
    readers: tuple[tuple[str, ...], ...] = (
        ("q_proj", "k_proj", "v_proj"),
        ("gate_proj", "up_proj"),
        ("fc1",),
    )
    earlier: Prefixes = ()


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        name: What transformers calls it.
        title: What its authors call it.
        base_name: Pattern of its models' names in lower case, with hyphens as the only separator.
        anatomy: Its parts.
        projector: What `modules_to_save` names for the projector to be trained.
        also: Families whose models may bear such a name, too.
        reads_ahead: Tokens of a prompt see those after them, so that an answer in one pass with its
            prompt is not what the model generates token by token.
    """

    name: str
    title: str
    base_name: str
    anatomy: Anatomy
    projector: tuple[str, ...]
    also: tuple[str, ...] = ()
    reads_ahead: bool = False


_FLAT_LANGUAGE = (("model.language_model", "model"),)
# `model` alone begins canonical names, too, so that its modules are named to be read.
_READ_FLAT_LANGUAGE = (
    ("model.layers", "model.language_model.layers"),
    ("model.embed_tokens", "model.language_model.embed_tokens"),
    ("model.norm", "model.language_model.norm"),
)

_LLAVA_LIKE = Anatomy(
    language="language_model",
    vision="vision_tower",
    connector="multi_modal_projector",
    written=MappingProxyType(
        {
            HF_OLD: (
                ("model.language_model", "language_model.model"),
                ("lm_head", "language_model.lm_head"),
                # CLIP and SigLIP towers had one more level then; InternVL's, with `layer`, had not.
                ("model.vision_tower.encoder.layers", "vision_tower.vision_model.encoder.layers"),
                ("model.vision_tower.head", "vision_tower.vision_model.head"),
                ("model.vision_tower", "vision_tower"),
                ("model.multi_modal_projector", "multi_modal_projector"),
                ("model.image_newline", "image_newline"),
            ),
            LLAVA: (
                *_FLAT_LANGUAGE,
                ("model.vision_tower", "model.vision_tower.vision_tower.vision_model"),
                # The original projector is a sequence, with an activation at 1.
                ("model.multi_modal_projector.linear_1", "model.mm_projector.0"),
                ("model.multi_modal_projector.linear_2", "model.mm_projector.2"),
            ),
        }
    ),
    read=(
        *_READ_FLAT_LANGUAGE,
        ("model.vision_tower.vision_tower", "model.vision_tower"),
        ("model.vision_tower.vision_model", "model.vision_tower"),
        ("model.language_model.model", "model.language_model"),
        ("vision_tower.vision_model", "model.vision_tower"),
    ),
    peft_renames=("language_model.model", "vision_tower.vision_model"),
    peft_unwraps=("model.vision_tower.vision_model",),  # transformers 4.52 to 4.57
    # CLIP and SigLIP towers; InternVL's and Pixtral's have none of these.
    earlier=tuple(
        (f"model.vision_tower.{part}", f"model.vision_tower.vision_model.{part}")
        for part in (
            *("encoder.layers", "head", "embeddings.patch_embedding", "pre_layrnorm"),
            *("embeddings.position_embedding", "post_layernorm"),
        )
    ),
)
# Gemma3, PaliGemma and Mistral3: of the same names, and the original LLaVA code has none of them.
_LLAVA_NAMES = replace(_LLAVA_LIKE, written=MappingProxyType({HF_OLD: _LLAVA_LIKE.written[HF_OLD]}))
_PIXTRAL_NAMES = replace(_LLAVA_NAMES, peft_renames=("language_model.model",))
_MLLAMA = Anatomy(
    language="language_model",
    vision="vision_model",
    connector="multi_modal_projector",
    written=MappingProxyType(
        {
            HF_OLD: (
                ("model.language_model", "language_model.model"),
                ("lm_head", "language_model.lm_head"),
                ("model.multi_modal_projector", "multi_modal_projector"),
                # Only the parts that no model of transformers has at the top now, as CLIP has an
                # encoder.
                *(
                    (f"model.vision_model.{part}", f"vision_model.{part}")
                    for part in (
                        *("transformer", "global_transformer", "patch_embedding", "layernorm_pre"),
                        *("gated_positional_embedding", "pre_tile_positional_embedding"),
                        *("layernorm_post", "post_tile_positional_embedding"),
                    )
                ),
            )
        }
    ),
    peft_renames=("language_model.model",),
)
_QWEN_LIKE = Anatomy(
    language="language_model",
    vision="visual",
    written=MappingProxyType({FLAT: (*_FLAT_LANGUAGE, ("model.visual", "visual"))}),
    read=_READ_FLAT_LANGUAGE,
    readers=(("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("qkv",), ("linear_fc1",)),
)
_IDEFICS_LIKE = Anatomy(language="text_model", vision="vision_model", connector="connector")

ANATOMIES = (_LLAVA_LIKE, _QWEN_LIKE, _IDEFICS_LIKE, _MLLAMA)
"""All of them; models of a family without a row may have one of them."""

_PROJECTOR, _MERGER = ("multi_modal_projector",), ("visual.merger",)

FAMILIES: tuple[Family, ...] = (
    Family(
        "llava_onevision",
        "LLaVA-OneVision",
        r"llava-?(onevision|.*\bov\b)",
        _LLAVA_LIKE,
        _PROJECTOR,
    ),
    Family(
        "llava_next",
        "LLaVA-NeXT",
        r"llava-?(next|v?1-6)",
        _LLAVA_LIKE,
        _PROJECTOR,
    ),
    Family("qwen2_5_vl", "Qwen2.5-VL", r"qwen-?2-5-vl", _QWEN_LIKE, _MERGER),
    Family(
        "qwen3_vl",
        "Qwen3-VL",
        r"qwen-?3-vl",
        _QWEN_LIKE,
        (*_MERGER, "visual.deepstack_merger_list"),
    ),
    Family("qwen2_vl", "Qwen2-VL", r"qwen-?2-vl", _QWEN_LIKE, _MERGER),
    Family("internvl", "InternVL", r"internvl", _LLAVA_LIKE, _PROJECTOR),
    # Gemma 3 of 270M and 1B has no vision tower, and Gemma 3n is another family.
    Family("gemma3", "Gemma 3", r"gemma-?3(?!n|-?(1b|270m))", _LLAVA_NAMES, _PROJECTOR),
    Family("paligemma", "PaliGemma", r"paligemma", _LLAVA_NAMES, _PROJECTOR, reads_ahead=True),
    Family(
        "mistral3",
        "Mistral Small 3.1",
        r"mistral-small-3-[12]|ministral-3|mistral3",
        _PIXTRAL_NAMES,
        _PROJECTOR,
    ),
    Family("mllama", "Llama 3.2 Vision", r"llama-?3-2-.*vision|mllama", _MLLAMA, _PROJECTOR),
    # The first SmolVLM is an idefics3.
    Family("smolvlm", "SmolVLM", r"smolvlm", _IDEFICS_LIKE, ("connector",), also=("idefics3",)),
    Family("idefics3", "Idefics3", r"idefics-?3", _IDEFICS_LIKE, ("connector",)),
    Family("llava", "LLaVA", r"llava", _LLAVA_LIKE, _PROJECTOR),
)
"""All families, from the most specific `base_name` to the least: the first that matches counts."""

BY_NAME: Mapping[str, Family] = MappingProxyType({family.name: family for family in FAMILIES})

ORIGINAL = "llava"
"""The family whose models the original LLaVA code loads: LLaVA-1.5."""

RENAMED_BY_PEFT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{name: family.anatomy.peft_renames for name, family in BY_NAME.items()},
        "aya_vision": _LLAVA_LIKE.peft_renames,
        "internvl": _PIXTRAL_NAMES.peft_renames,
    }
)
"""Old prefixes of LoRA tensors that PEFT renames, by family.

Tried with tiny models: transformers 5.24 and PEFT 0.21.2, November 2026 (tests/field). Older PEFT
with transformers 4.52 to 4.57 renames more.
"""

_LLAVAS = ("llava", "llava_next", "llava_onevision")
HF_OLD_NAMES = tuple(name for name, row in BY_NAME.items() if HF_OLD in row.anatomy.written)
"""The families that were written in the layout hf-old."""

_VISION_TOWERS = tuple(
    name for name in HF_OLD_NAMES if BY_NAME[name].anatomy.vision != "vision_model"
)

BY_MODULE: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"model\.vision_model\.(\w*transformer|layernorm|\w+_embedding)", ("mllama",)),
    (r"model\.language_model\.layers\.\d+\.cross_attn\b", ("mllama",)),
    (r"model\.(text_model|vision_model|connector)\b", ("idefics3", "smolvlm")),
    (r"model\.visual\..*(deepstack_merger_list|linear_fc\d)", ("qwen3_vl",)),
    (r"model\.visual\.blocks\..*(gate|up|down)_proj", ("qwen2_5_vl",)),
    (r"model\.visual\.blocks\..*fc\d", ("qwen2_vl",)),
    (r"model\.visual\b", ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")),
    (r"model\.vision_tower\.encoder\.layer\.", ("internvl",)),
    (r"model\.vision_tower\.encoder\.layers\.", (*_LLAVAS, "gemma3", "paligemma")),
    # LLaVA's settings may name a Pixtral tower, too.
    (r"model\.vision_tower\.transformer\.", ("mistral3", "llava")),
    (r"model\.multi_modal_projector\.(mm_soft_emb_norm|mm_input_projection)", ("gemma3",)),
    (r"model\.multi_modal_projector\.linear\b", ("paligemma",)),
    (r"model\.multi_modal_projector\.(patch_merger|norm)\b", ("mistral3",)),
    (r"model\.vision_tower\b", _VISION_TOWERS),
    (r"model\.multi_modal_projector\b", HF_OLD_NAMES),
)
"""Patterns of canonical module names that only some families have; the first match counts."""

_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {leaf: group for family in FAMILIES for group in family.anatomy.readers for leaf in group}
)
_LAYER = re.compile(r".*?\.\d+(?=\.)")
_EXPERT = re.compile(r"\.experts\.\d+$")


@dataclass(frozen=True)
class ModuleInput:
    """What a module reads.

    Attributes:
        name: The same for all modules that read one input.
        stream: The same for all that read the residual stream of one layer; an expert reads what is
            routed to it, which is a stream of its own.
    """

    name: str
    stream: str

    @classmethod
    def of(cls, module: str) -> ModuleInput:
        """Return what a module reads, from its canonical name; its own where no row knows it."""
        parent, _, leaf = module.rpartition(".")
        layer = _LAYER.match(module)
        if leaf not in _GROUPS or layer is None:
            return cls(module, module)
        stream = parent if _EXPERT.search(parent) else layer[0]
        return cls(f"{parent}.{'|'.join(_GROUPS[leaf])}", stream)


NOT_LANGUAGE = (
    r".*(vision_tower|vision_model|visual|multi_modal_projector|mm_projector|connector).*"
)
"""Pattern for PEFT's `exclude_modules`: everything outside the language model.

Results hold it, so a new family adds to its end.
"""
