"""One folder that `from_pretrained` loads as base and adapter: the base's files, and the adapter's.

transformers loads a folder with config.json and adapter_config.json as a model with an adapter, so
that a program written for plain models runs the merged one. It needs PEFT for that; without PEFT it
loads the base alone and gives no warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..adapter.base import Base
from ..adapter.config import FILE
from ..adapter.factor_writer import FactorTensors, opened_factors
from ..adapter.keys import Part, full_name
from ..adapter.reader import LoraModule
from ..adapter.settings import plain_lora
from ..adapter.tensor_ref import TensorRef
from ..checks.peft_rules import saves, under
from ..files import write_json
from .changes import AdapterChanges
from .companions import INDEX, copy_all, link_all, other_files, weight_files
from .plain import PlainLora

WEIGHTS = "adapter_model.safetensors"


def write_embedded(changes: AdapterChanges, base: Base, folder: Path, *, copy: bool) -> None:
    """Fill a folder with the base's files, linked or copied, and the adapter in today's names.

    Raises:
        MergeError: transformers would leave a part of the adapter out.
    """
    changes.refuse(
        Part.MAGNITUDE,
        "DoRA, whose magnitudes transformers leaves out of such a folder (tried with 5.23)",
        "--format full bakes it into the base",
    )
    index = base.folder / INDEX
    files = [*weight_files(base), *([index] if index.is_file() else []), *other_files(base)]
    (copy_all if copy else link_all)(files, folder)
    modules = tuple(changes.adapter.modules.values())
    plain = PlainLora.of(modules)
    trained = {
        changes.contents.live(item.written): item.ref
        for item in changes.contents.of(Part.FULL, Part.TOKENS, Part.BASE)
    }
    names = [changes.contents.live(m.written) for m in modules]
    settings = plain_lora(changes.adapter, modules, names, plain.rank, base.label, trained)
    _write_tensors(
        changes, plain, modules, _siblings(settings, changes, base) | trained, folder / WEIGHTS
    )
    write_json(folder / FILE, {**settings, "lora_alpha": plain.setting})


def _siblings(
    settings: Mapping[str, Any], changes: AdapterChanges, base: Base
) -> dict[str, TensorRef]:
    """Return the base's parameters in modules of `modules_to_save`."""
    live = changes.contents.live
    wrapped = [name for name in map(live, base.modules) if saves(settings, name)]
    return {
        live(name): ref
        for name, ref in base.tensors.items()
        if any(under(live(name), module) for module in wrapped)
    }


def _write_tensors(
    changes: AdapterChanges,
    plain: PlainLora,
    modules: tuple[LoraModule, ...],
    trained: dict[str, TensorRef],
    path: Path,
) -> None:
    specs = {full_name(name): ref.spec for name, ref in trained.items()}
    for module in modules:
        tensors = _tensors(changes, module)
        specs |= tensors.specs(module.shape, plain.rank, plain.dtype(module))
    with opened_factors(path, specs) as factors:
        for module in modules:
            factors.write(_tensors(changes, module), plain.factors(changes.adapter, module))
        for name, ref in trained.items():
            factors.writer.write(full_name(name), ref.read())


def _tensors(changes: AdapterChanges, module: LoraModule) -> FactorTensors:
    live = changes.contents.live(module.written)
    return FactorTensors.of(live, module.part, wrapped=module.wrapped, kernel=module.kernel)
