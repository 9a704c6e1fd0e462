"""Experts in the files of adapters, which programs take fused or one by one."""

from __future__ import annotations

import re

from ...adapter.expert_families import GATES
from ..contents import Contents
from ..findings import OK, Finding, fails

UNFUSE = (
    "write it with one module per projection: robustmerge convert ADAPTER -o OUT "
    "--layout projections --base MODEL"
)
SGLANG_NAMES = UNFUSE.replace("--layout projections", "--layout sglang")
FUSE = "fuse them: robustmerge convert ADAPTER -o OUT --layout fused --base MODEL"
_SINGLE = re.compile(rf".+\.experts\.\d+\.({'|'.join(sorted(GATES))})")


def fused_experts(contents: Contents) -> list[str]:
    """Return the wrappers of experts that are fused, by their names in the file."""
    wrappers = contents.wrapped.items()
    return [name for name, module in wrappers if module.wrapped and module.wrapped.experts > 1]


def stacked_experts(contents: Contents) -> str:
    """Say that factors of experts are 3-D tensors, as SGLang's trainers save them; "" if none."""
    if not contents.stacked:
        return ""
    return f"3-D factors of all experts, such as {next(iter(contents.stacked))}, are SGLang's"


def stacked_are_read(contents: Contents) -> Finding:
    """Check that factors of experts have no axis of experts: the program knows no such tensors."""
    if not (problem := stacked_experts(contents)):
        return OK
    return fails(f"{problem}, and find no module here", UNFUSE)


def single_projections(contents: Contents) -> list[str]:
    """Return the projections of single experts, by their names in the file."""
    return [lora.written for lora in contents.loras if _SINGLE.fullmatch(lora.written)]
