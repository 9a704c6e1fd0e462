"""Four ways to name the modules of one multimodal model, and the one used inside.

    hf      model.language_model.layers.0 …    what transformers and PEFT write now
    hf-old  language_model.model.layers.0 …    LLaVA, OneVision, InternVL before transformers 4.52
    flat    model.layers.0 …, visual.blocks …  Qwen2-VL and 2.5 before 4.52; text-only models
    llava   model.layers.0 …, model.mm_projector.0   the original LLaVA code

Inside, every name is as in `hf`. The target of a rewriting follows from the prefix alone, so names
are made canonical one by one, and a file may even mix layouts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ..errors import unknown

HF, HF_OLD, FLAT, LLAVA = "hf", "hf-old", "flat", "llava"

# Longest first where one is the beginning of another; the first match is applied, once.
_TO_CANONICAL = (
    ("model.vision_tower.vision_tower.vision_model", "model.vision_tower"),
    ("model.vision_tower.vision_tower", "model.vision_tower"),
    ("model.vision_tower.vision_model", "model.vision_tower"),
    ("model.mm_projector.0", "model.multi_modal_projector.linear_1"),
    ("model.mm_projector.2", "model.multi_modal_projector.linear_2"),
    ("model.language_model.model", "model.language_model"),
    ("model.layers", "model.language_model.layers"),
    ("model.embed_tokens", "model.language_model.embed_tokens"),
    ("model.norm", "model.language_model.norm"),
    ("language_model.model", "model.language_model"),
    ("language_model.lm_head", "lm_head"),
    ("vision_tower.vision_model", "model.vision_tower"),
    ("vision_tower", "model.vision_tower"),
    ("multi_modal_projector", "model.multi_modal_projector"),
    ("image_newline", "model.image_newline"),
    ("visual", "model.visual"),
)

_FROM_CANONICAL: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        HF: (),
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
        FLAT: (("model.language_model", "model"), ("model.visual", "visual")),
        LLAVA: (
            ("model.language_model", "model"),
            ("model.vision_tower", "model.vision_tower.vision_tower.vision_model"),
            ("model.multi_modal_projector.linear_1", "model.mm_projector.0"),
            ("model.multi_modal_projector.linear_2", "model.mm_projector.2"),
        ),
    }
)

LAYOUTS = tuple(_FROM_CANONICAL)

_TOWERS = ("language_model", "text_model", "vision_tower", "vision_model", "visual")
_CONNECTORS = ("multi_modal_projector", "connector")


def canonical(name: str) -> str:
    """The name inside for a module or parameter name of any layout."""
    return _rewrite(name, _TO_CANONICAL)


def written(name: str, layout: str) -> str:
    """A canonical name in the given layout.

    Raises:
        MergeError: There is no such layout.
    """
    if layout not in _FROM_CANONICAL:
        raise unknown("layout", layout, LAYOUTS)
    return _rewrite(name, _FROM_CANONICAL[layout])


def detect(names: Iterable[str]) -> str:
    """The layout that gives back every one of these names; `hf` where none does."""
    names = list(names)
    for layout in LAYOUTS:
        if all(written(canonical(name), layout) == name for name in names):
            return layout
    return HF


def tower(name: str) -> str:
    """Which part of the model a canonical name is in: language, vision, connector or other."""
    parts = name.split(".")
    if any(p in parts for p in _CONNECTORS):
        return "connector"
    if any(p in parts for p in _TOWERS[2:]):
        return "vision"
    return "language" if any(p in parts for p in _TOWERS[:2]) or name == "lm_head" else "other"


NOT_LANGUAGE = (
    r".*(vision_tower|vision_model|visual|multi_modal_projector|mm_projector|connector).*"
)
"""Pattern for PEFT's `exclude_modules`: everything outside the language model."""


def _rewrite(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        if name == old or name.startswith(old + "."):
            return new + name[len(old) :]
    return name
