"""SGLang: one scaling, listed targets, and the language model's blocks alone."""

from __future__ import annotations

from ...adapter import layout
from ...families import FAMILIES
from ..contents import Contents, LoraPair
from ..family import guess_family
from ..findings import OK, Finding, fails, note
from ..peft_rules import ALL_LINEAR
from .shared import LANGUAGE_ONLY, REWRITE, SERVER, Runtime, as_configured


def uniform_scaling(contents: Contents) -> Finding:
    """Check that every module is scaled by lora_alpha / r of the settings."""
    if not contents.config.rslora and as_configured(contents):
        return OK
    return fails("rsLoRA, or ranks or alphas by module", REWRITE)


def listed_targets(contents: Contents) -> Finding:
    """Check that target_modules is a list, by whose last parts of names modules are found."""
    targets = contents.config.raw.get("target_modules")
    if isinstance(targets, list) or targets in ("all", ALL_LINEAR):
        return OK
    return fails("target_modules is a pattern", "start the server with --lora-target-modules")


def language_blocks_only(contents: Contents) -> Finding:
    """Check that only linear layers of the language model's blocks are adapted."""
    outside = [
        x.name for x in contents.loras if layout.tower(x.name) != "language" or not _in_block(x)
    ]
    if not outside:
        return OK
    problem = f"{len(outside)} modules outside the language model's blocks, such as {outside[0]}"
    return fails(problem, LANGUAGE_ONLY)


def family_declares_lora(contents: Contents) -> Finding:
    """Check the family: SGLang's LLaVA does not declare which modules take LoRA."""
    candidates = guess_family(contents).candidates
    if not candidates or not all(map(_is_undeclared, candidates)):
        return OK
    return note(
        "SGLang's class for this model does not declare LoRA modules",
        "compare its answers with PEFT's",
    )


def _in_block(lora: LoraPair) -> bool:
    return any(part.isdigit() for part in lora.name.split("."))


def _is_undeclared(candidate: str) -> bool:
    """Decide whether a family, or one that its name begins with, is undeclared."""
    return any(candidate.startswith(f.name) and "sglang" in f.undeclared_by for f in FAMILIES)


SGLANG = Runtime(
    "sglang",
    "SGLang 0.5",
    {
        "scaling": uniform_scaling,
        "target_modules": listed_targets,
        "modules": language_blocks_only,
        "family": family_declares_lora,
        **SERVER,
    },
)
