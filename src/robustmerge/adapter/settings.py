"""The settings of a merged adapter: plain LoRA that every runtime reads."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import layout
from .keys import Part
from .promises import ROWS, is_rows
from .reader import Adapter, LoraModule
from .wrapped import WrappedParameter

MAGNITUDE = Part.MAGNITUDE.value
_BLOCK = re.compile(r"(?P<stem>.*?\.)(?P<number>\d{1,9})\.(?P<rest>.+)")


def plain_lora(
    first: Adapter,
    modules: Sequence[LoraModule],
    names: Sequence[str],
    rank: int,
    base: str,
    extras: Iterable[str],
    *,
    vision: bool = False,
    rows: list[int] | dict[str, list[int]] | None = None,
) -> dict[str, Any]:
    """Make an adapter_config.json with the scaling baked in (alpha = rank) and no patterns.

    A setting without a value is left out: PEFT refuses names that it does not know yet, whatever
    their value.

    Args:
        first: The first adapter, whose task type and wiring are kept.
        modules: The merged modules.
        names: Their names in the layout that is written.
        rank: The uniform rank.
        base: Base model.
        extras: Names of the fully trained parameters that go into the adapter, as written.
        rows: Rows of embeddings that are fully trained, those of the first adapter if not given.
        vision: The base is known to be a vision-language model.
    """
    raw, extras = dict(first.config.raw), list(extras)
    # Rows that were left out of the result, or put next to it, are none of its own.
    raw[ROWS] = (rows or raw.get(ROWS)) if any(is_rows(name) for name in extras) else None
    kept = ["auto_mapping", "revision", ROWS]
    # PEFT would overwrite the embedding's factors by the head's; merged, each has its own.
    if not any(m.part is Part.EMBEDDING_A for m in modules):
        kept.append("ensure_weight_tying")
    canonical = [m.name for m in modules]
    whole = _whole_entries(first, extras)
    parts = [e for e in first.config.names("modules_to_save") if e not in whole]
    saved = saved_modules(whole, extras, parts)
    return {
        **lora_settings(
            raw,
            canonical,
            names,
            rank,
            base,
            saved,
            vision=vision,
            parameters=[m.wrapped for m in modules],
        ),
        "use_dora": first.config.dora,
        **{field: raw[field] for field in kept if raw.get(field)},
    }


def lora_settings(
    raw: Mapping[str, Any],
    canonical: Sequence[str],
    written: Sequence[str],
    rank: int,
    base: str,
    saved: Sequence[str],
    *,
    vision: bool = False,
    parameters: Sequence[WrappedParameter | None] = (),
) -> dict[str, Any]:
    """Make the settings of plain LoRA for modules that need not come from an adapter.

    Args:
        raw: Settings whose task type and wiring are kept.
        canonical: The modules' canonical names.
        written: Their names in the layout that is written.
        rank: The uniform rank, which alpha is equal to.
        base: Base model.
        saved: The `modules_to_save`.
        vision: The base is known to be a vision-language model.
        parameters: For every module, the parameter that PEFT is to wrap, if any; or nothing.
    """
    wrapped = {name: w for name, w in zip(written, parameters or (), strict=False) if w}
    linear = [(c, w) for c, w in zip(canonical, written, strict=True) if w not in wrapped]
    targets = _targets([c for c, _ in linear], [w for _, w in linear], vision=vision)
    entries = {w.renamed(name).target for name, w in wrapped.items()}
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": raw.get("task_type"),
        "base_model_name_or_path": base or None,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": bool(raw.get("fan_in_fan_out", False)),
        "inference_mode": True,
        "init_lora_weights": True,
        "target_modules": targets,
        "target_parameters": sorted(entries) or None,
        "modules_to_save": list(saved) or None,
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_rslora": False,
        "use_dora": False,
    }
    return {field: value for field, value in settings.items() if value is not None}


def saved_modules(
    listed: Sequence[str], extras: Iterable[str], parts_of: Sequence[str] = ()
) -> list[str]:
    """Return the `modules_to_save` with which PEFT loads these parameters.

    Entries of the first adapter are kept where they cover a parameter; a projector from elsewhere
    is named whole, anything else by its own module, and so is what is left of an entry in
    `parts_of`, of whose tensors some were left out.
    """
    modules_to_save: list[str] = []
    for name in extras:
        if any(part in name for part in ("trainable_tokens_delta", ".base_layer.", MAGNITUDE)):
            continue
        parts = name.split(".")[:-1]
        entry = next((e for e in listed if selects(e, parts)), None)
        if entry is None and not any(selects(e, parts) for e in parts_of):
            entry = next((p for p in parts if p in layout.CONNECTORS), None)
        modules_to_save.append(entry or ".".join(parts))
    return list(dict.fromkeys(modules_to_save))


def selects(entry: str, parts: list[str]) -> bool:
    """Decide as PEFT does whether an entry selects a module or one around it: by its last letters.

    So `norm` selects input_layernorm, too.
    """
    return any(".".join(parts[:n]).endswith(entry) for n in range(1, len(parts) + 1))


def _whole_entries(first: Adapter, extras: Iterable[str]) -> list[str]:
    """Return the entries of an adapter's `modules_to_save` all of whose tensors are in the result.

    PEFT looks for every tensor of every module that an entry selects.
    """
    kept = {layout.canonical(name) for name in extras}
    gone = [name.split(".")[:-1] for name in first.extras if name not in kept]
    gone += [key.module.split(".") for key, _ in first.left_out if key.part is Part.FULL]
    entries = first.config.names("modules_to_save")
    return [e for e in entries if not any(selects(e, module) for module in gone)]


def _targets(canonical: Sequence[str], written: Sequence[str], *, vision: bool) -> list[str]:
    """Return the `target_modules` that select exactly these modules.

    Short names are used in a language model, where every block has the same modules. A vision tower
    may have modules of the same short names, and PEFT excludes modules only since 0.14, so that
    those of a vision-language model are named in full, by their names in every generation of
    transformers that loads the tensors.

    Args:
        canonical: Canonical names.
        written: The same modules' names in the result.
        vision: The base is known to be a vision-language model.
    """
    outside = any(layout.tower(name) != "language" for name in canonical)
    text_only = all(
        name == layout.written(canon, layout.FLAT)
        for canon, name in zip(canonical, written, strict=True)
    )
    if text_only and not vision and not outside:  # names of a language model, in all generations
        return _short_targets(canonical, written) or list(written)
    return list(dict.fromkeys(n for name in written for n in layout.live_names(name)))


def _short_targets(canonical: Sequence[str], written: Sequence[str]) -> list[str]:
    """Return the last parts of names, where they select the same modules in every block."""
    if any(layout.tower(name) != "language" for name in canonical):
        return []
    blocks: dict[tuple[str, int], set[str]] = defaultdict(set)
    leaves: set[str] = set()
    for name in written:
        match = _BLOCK.fullmatch(name)
        if match is None:
            return []
        blocks[match["stem"], int(match["number"])].add(match["rest"])
        leaves.add(name.rpartition(".")[2])
    stems = {stem for stem, _ in blocks}
    numbers = sorted(number for _, number in blocks)
    complete = len(stems) == 1 and numbers == list(range(len(numbers)))
    uneven = len({frozenset(rest) for rest in blocks.values()}) > 1
    return [] if uneven or not complete else sorted(leaves)
