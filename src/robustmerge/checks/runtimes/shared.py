"""What a runtime is, and the limits that several runtimes have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...adapter import layout
from ...adapter.keys import Part, full_name, lora_name
from ...errors import few
from ..contents import LORA, Contents, LoraPair, NamedTensor
from ..findings import OK, Finding, fails

Limit = Callable[[Contents], Finding]

REWRITE = "rewrite it: robustmerge merge ADAPTER -o OUT -m task-arithmetic"  # exact; one alpha
BAKE = "bake it into the base: robustmerge export ADAPTER -o OUT --format full --base MODEL"


_FROM_DORA = (
    "of these, DoRA can be baked into the base: robustmerge export ADAPTER -o OUT --format full "
    "--base MODEL"
)


@dataclass(frozen=True)
class Runtime:
    """A program that loads adapters.

    Attributes:
        name: What the user calls it.
        read_in: The version whose code the limits were read in, or that was run.
        limits: One small function for each limit, by what it checks.
        decides_exit_code: Whether its failures count where the user names no runtime.
    """

    name: str
    read_in: str
    limits: Mapping[str, Limit]
    decides_exit_code: bool = False


def leave_out(outside: Sequence[str]) -> str:
    """Return advice for modules that a program does not take: their patterns, or a whole base."""
    patterns = part_patterns(outside)
    return f"to lose them knowingly: {REWRITE.partition(': ')[2]} {patterns}; or {BAKE}"


def part_patterns(outside: Sequence[str]) -> str:
    """Return the options that leave the parts of the model out which these names are in."""
    parts = dict.fromkeys(_part_of_model(name) for name in outside)
    return " ".join(f"--leave-out '*{part}*'" for part in parts)


def _part_of_model(name: str) -> str:
    """Return the segment of a canonical name that the vision tower or connector is under."""
    segments = [s for s in name.split(".") if s != "model" and layout.tower(s) != "language"]
    return next((s for s in segments if layout.tower(s) in ("vision", "connector")), segments[0])


def plain_lora(contents: Contents) -> Finding:
    """Check for DoRA and related adapters, which compute more than s B A."""
    raw = contents.config.raw
    fields = (
        "use_dora",
        "use_bdlora",
        "use_qalora",
        "layer_replication",
        "alora_invocation_tokens",
    )
    present = [field for field in fields if raw.get(field)]
    if not present and contents.of(Part.MAGNITUDE):
        present = ["a magnitude vector"]
    return fails(f"not plain LoRA: {', '.join(present)}", _FROM_DORA) if present else OK


def no_bias(contents: Contents) -> Finding:
    """Check for trained biases."""
    raw = contents.config.raw
    bias = raw.get("bias") or "none"
    if bias != "none" or raw.get("lora_bias") or contents.of(Part.LORA_BIAS):
        return fails("trained biases", "add them to the base in PEFT: model.merge_and_unload()")
    return OK


def factors_only(contents: Contents) -> Finding:
    """Check for fully trained parameters, for which servers have no LoRA memory."""
    names = [layout.canonical(i.written) for i in contents.fully_trained]
    listed = contents.config.raw.get("modules_to_save")
    names = names or ([str(e) for e in listed] if isinstance(listed, list) else [])
    if not names:
        return OK
    return fails(f"fully trained parameters: {few(names, 1)}", BAKE)


def peft_keys(contents: Contents) -> Finding:
    """Check that names are as PEFT writes them: they are taken apart by position."""
    odd = [i.ref.name for i in contents.items if i.ref.name != _as_peft_writes(i)]
    odd += contents.unknown_names
    return fails(f"keys such as {odd[0]}", "save it again with PEFT, or merge it") if odd else OK


def as_configured(contents: Contents) -> bool:
    """Decide whether every module has the rank and the scaling that r and lora_alpha give."""
    config = contents.config
    root = math.sqrt(config.rank) if config.rslora else config.rank
    return all(
        x.rank == config.rank and is_close(scaling(contents, x), config.alpha / root)
        for x in contents.loras
    )


def scaling(contents: Contents, lora: LoraPair) -> float:
    """Return what PEFT scales a module's update by."""
    return contents.config.scaling(lora.written, max(lora.rank, 1))


def is_close(first: float, second: float) -> bool:
    """Decide whether two scalings are the same but for rounding."""
    return math.isclose(first, second, rel_tol=1e-9)


def _as_peft_writes(item: NamedTensor) -> str:
    if item.key.part in LORA:
        return lora_name(item.key.module, item.key.part)
    if item.key.part in (Part.MAGNITUDE, Part.LORA_BIAS):
        return item.ref.name
    return full_name(item.written)


SERVER: Mapping[str, Limit] = {
    "plain LoRA": plain_lora,
    "biases": no_bias,
    "fully trained parameters": factors_only,
    "keys": peft_keys,
}
"""Limits that both vLLM and SGLang have."""
