"""The folder of the original LLaVA code: adapter_model.bin, non_lora_trainables.bin, config.json.

What that code demands was read in its loader (llava/model/builder.py of LLaVA and of
AuroraZengfh/RobustMerge): the last part of the folder's name says what it is, config.json is that
of the original base (its vocabulary has no <image> token, unlike that of the converted models), and
non_lora_trainables.bin must exist even if it is empty. PEFT was 0.4 then, which knows one
rank and one alpha.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..adapter import layout
from ..adapter.config import FILE
from ..adapter.keys import Part, full_name, lora_name
from ..adapter.reader import LoraModule
from ..adapter.settings import plain_lora
from ..adapter.tensor_files import NON_LORA
from ..adapter.tensors import DTYPES
from ..adapter.writer import saving
from ..checks.family import guess_family
from ..errors import MergeError, few
from ..families import ORIGINAL
from ..files import check_inside, read_json, write_json
from .changes import AdapterChanges
from .companions import SETTINGS, settings_file
from .plain import PlainLora

WEIGHTS = "adapter_model.bin"
_BASE = "liuhaotian/llava-v1.5-7b"
_FIELDS = (
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode"),
    *("r", "lora_alpha", "lora_dropout", "target_modules", "fan_in_fan_out", "bias"),
    *("modules_to_save", "init_lora_weights"),
)
_PROJECTOR = "model.multi_modal_projector.linear_"


def check_name(output: Path) -> None:
    """Check that the folder's name makes the original code load it as a LoRA.

    Raises:
        MergeError: the name does not.
    """
    name = output.name.lower()
    missing = [word for word in ("llava", "lora") if word not in name]
    if missing:
        raise MergeError(
            f"the folder's name {output.name!r} does not contain "
            f"{' and '.join(map(repr, missing))}: the original LLaVA code decides by the name what "
            "to load, and would load something else",
            where=str(output),
            hint=f"such as {output.with_name('llava-lora-' + output.name)}",
        )


def plan(changes: AdapterChanges, base: str | None) -> dict[str, Any]:
    """Check that this is an adapter of LLaVA-1.5; return the original code's config.json.

    Raises:
        MergeError: the adapter is of another model, or has what the original code cannot load.
    """
    _check_family(changes)
    settings = _settings(changes, base)
    _check_modules(changes, settings)
    _check_replaced(changes, settings)
    return settings


def write_original(
    changes: AdapterChanges, settings: Mapping[str, Any], base: str | None, folder: Path
) -> None:
    """Fill a folder with the files that the original code loads."""
    modules = tuple(changes.adapter.modules.values())
    plain = PlainLora.of(modules)
    names = [layout.written(m.name, layout.LLAVA) for m in modules]
    tensors: dict[str, Tensor] = {}
    for module, name in zip(modules, names, strict=True):
        factors, dtype = plain.factors(changes.adapter, module), DTYPES[plain.dtype(module)]
        tensors[lora_name(name, Part.A)] = factors.A.to(dtype)
        tensors[lora_name(name, Part.B)] = factors.B.to(dtype)
    _save(tensors, folder / WEIGHTS)
    replaced = {
        full_name(layout.written(name, layout.LLAVA)): ref.read().to(DTYPES[ref.spec.dtype])
        for name, ref in changes.replaced.items()
    }
    _save(replaced, folder / NON_LORA)
    label = base or changes.adapter.config.base
    written = plain_lora(changes.adapter, modules, names, plain.rank, label, [])
    written |= {"lora_alpha": plain.setting, "task_type": "CAUSAL_LM"}
    write_json(folder / FILE, {field: written.get(field) for field in _FIELDS})
    write_json(folder / SETTINGS, settings)


def _check_family(changes: AdapterChanges) -> None:
    family = guess_family(changes.contents)
    if family.candidates and ORIGINAL not in family.candidates:
        raise MergeError(
            f"an adapter of {family}, and the original code knows LLaVA-1.5 alone",
            where=changes.adapter.label,
            hint="--format embedded or --format full take any model",
        )


def _settings(changes: AdapterChanges, base: str | None) -> dict[str, Any]:
    """Read the original config.json: the adapter's own, or that of the base."""
    own = changes.adapter.folder / SETTINGS
    if base is None and not own.is_file():
        raise MergeError(
            f"no {SETTINGS} of the original LLaVA code next to the adapter",
            where=changes.adapter.label,
            hint=f"--base names the original model, such as {_BASE}; only its {SETTINGS} is read",
        )
    path = settings_file(base) if base is not None else check_inside(own, own.parent)
    settings = read_json(path)
    kinds = settings.get("architectures") or ["LlavaLlamaForCausalLM"]
    if kinds != ["LlavaLlamaForCausalLM"] or "mm_vision_tower" not in settings:
        raise MergeError(
            f"not the {SETTINGS} of an original LLaVA-1.5 ({few(list(map(str, kinds)))})",
            where=str(path),
            hint=f"--base names the original model, such as {_BASE}, and not its conversion",
        )
    return settings


def _check_modules(changes: AdapterChanges, settings: Mapping[str, Any]) -> None:
    """Check that only linear layers of the language model are adapted, of the model's shapes."""
    hidden, inner = settings.get("hidden_size"), settings.get("intermediate_size")
    for module in changes.adapter.modules.values():
        plain = module.part is Part.A and not (module.wrapped or module.kernel)
        if layout.tower(module.name) != "language" or not plain:
            raise MergeError(
                f"LoRA on {module.name}, where the original code has none",
                where=str(module.A),
                hint="it adapts the language model's linear layers; --format full bakes all",
            )
        wanted = _shape(module, hidden, inner)
        if wanted is not None and module.shape != wanted:
            raise MergeError(
                f"{module.name} is {list(module.shape)} here and {list(wanted)} by {SETTINGS} "
                "of the original model",
                where=str(module.A),
                hint="--base names the original model of the same size",
            )


def _shape(module: LoraModule, hidden: object, inner: object) -> tuple[int, int] | None:
    """Return the shape of a Llama layer, None where its name and the settings do not give it."""
    leaf = module.name.rpartition(".")[2]
    if not isinstance(hidden, int) or not isinstance(inner, int):
        return None
    shapes = dict.fromkeys(("q_proj", "o_proj"), (hidden, hidden))
    shapes |= {"gate_proj": (inner, hidden), "up_proj": (inner, hidden)}
    return (shapes | {"down_proj": (hidden, inner)}).get(leaf)


def _check_replaced(changes: AdapterChanges, settings: Mapping[str, Any]) -> None:
    hint = "--format full bakes it into the base"
    changes.refuse(Part.MAGNITUDE, "DoRA, which the original code does not support", hint)
    changes.refuse(Part.TOKENS, "single rows of the embeddings were trained", hint)
    changes.refuse(Part.BASE, "a copy of a base weight, which belongs to LoRA on embeddings", hint)
    vocabulary = settings.get("vocab_size")
    for name, ref in changes.replaced.items():
        is_vocabulary = name in ("lm_head.weight", "model.language_model.embed_tokens.weight")
        if is_vocabulary and ref.spec.shape[0] == vocabulary:
            continue
        if is_vocabulary or not (name.startswith(_PROJECTOR) or name == "model.image_newline"):
            raise MergeError(
                f"{name} {list(ref.spec.shape)} has no place in the original model"
                + (f", whose vocabulary is {vocabulary}" if is_vocabulary else ""),
                where=str(ref),
                hint=hint,
            )


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Save as torch does."""
    with saving(path):
        torch.save(tensors, path)
