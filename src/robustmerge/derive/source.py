"""An adapter of any kind that can be converted: its modules' tensors, and what it passes on."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from ..adapter import layout
from ..adapter.base import Base
from ..adapter.config import AdapterConfig
from ..adapter.reader import Adapter
from ..adapter.settings import selects
from ..adapter.tensor_ref import TensorRef
from ..errors import MergeError
from ..factors import Factors
from . import banked, products, rescaled
from .folder import PassedOn
from .kinds import BAKE, Kind, KindModule, find_kind
from .opened import SourceFolder

_FAMILIES = (banked, products, rescaled)
"""The modules whose import registers the kinds."""


@dataclass(frozen=True)
class KindAdapter:
    """An opened adapter, from the headers alone.

    Attributes:
        opened: Its folder.
        config: Its settings, with the alpha under LoRA's name.
        kind: Its kind.
        modules: Every module's tensors by the parameter's name, by the module's name in the file.
        shared: The tensors that all modules share.
        extras: Fully trained parameters.
    """

    opened: SourceFolder
    config: AdapterConfig
    kind: Kind
    modules: Mapping[str, Mapping[str, TensorRef]]
    shared: Mapping[str, TensorRef]
    extras: tuple[PassedOn, ...]

    @classmethod
    def open(cls, source: str | Path) -> KindAdapter:
        """Read settings and headers.

        Raises:
            MergeError: a kind that is not converted, or tensors that it does not have.
        """
        opened = SourceFolder.open(source)
        kind = find_kind(AdapterConfig(opened.settings, opened.raw))
        alpha = {"lora_alpha": opened.raw["alpha"]} if "alpha" in opened.raw else {}
        config = AdapterConfig(opened.settings, {**opened.raw, **alpha})
        modules: dict[str, dict[str, TensorRef]] = defaultdict(dict)
        shared, extras = {}, []
        pattern = re.compile(rf"(.+)\.({'|'.join(kind.parameters)})(?:\.weight)?")
        for name, ref in opened.tensors.items():
            if (whole := name.removeprefix("base_model.")) in kind.shared:
                shared[whole] = ref
            elif match := pattern.fullmatch(name):
                modules[match[1]][match[2]] = ref
            elif any(selects(e, name.split(".")[:-1]) for e in config.names("modules_to_save")):
                extras.append(PassedOn(name, ref.spec, partial(read_stored, ref)))
            else:
                raise MergeError(
                    f"a tensor that {kind.name} of a linear layer does not have",
                    where=str(ref),
                    hint=f"layers of other kinds are not converted: {BAKE}",
                )
        if not modules:
            raise MergeError(
                f"no tensors of {kind.name} in the file",
                where=opened.where,
                hint="the settings belong to another adapter; find the right file",
            )
        opened.check_promises(config, {extra.written: extra.spec for extra in extras})
        return cls(opened, config, kind, modules, shared, tuple(extras))

    def module(self, name: str, base: Base | None, initial: Adapter | None) -> KindModule:
        """Read one module's tensors.

        Raises:
            MergeError: the base has no such linear layer, or is needed and not there.
        """
        canonical = layout.canonical(name)
        shape = base.module_shape(canonical) if base else None
        if base is not None and (shape is None or len(shape) != 2):
            raise MergeError(
                f"the base has no linear layer {name}" + (f", but {list(shape)}" if shape else ""),
                where=f"{self.opened.where}\n{base.folder}",
                hint="--base is the model that the adapter was trained on",
            )
        if base is None and self.kind.needs == "shapes":
            raise MergeError(
                f"{self.kind.name} does not say how many inputs a layer has",
                where=self.opened.where,
                hint="--base MODEL, of which headers alone are read",
            )

        def weight() -> Tensor:
            ref = base.weight(canonical) if base else None
            if ref is None:
                raise MergeError(
                    f"what this {self.kind.name} changes depends on the base's weight",
                    where=f"{self.config.path}\n{name}",
                    hint="--base MODEL names the model that it was trained from",
                )
            return ref.read().double()

        read = {key: ref.read().double() for key, ref in self.modules[name].items()}
        return KindModule(
            written=name,
            tensors=read,
            shared={key: ref.read().double() for key, ref in self.shared.items()},
            config=self.config,
            base=weight,
            base_shape=(shape[0], shape[1]) if shape else None,
            base_bias=base is not None and f"{canonical}.bias" in base.tensors,
            initial=_initial(initial, canonical),
        )


def _initial(adapter: Adapter | None, module: str) -> Factors | None:
    if adapter is None:
        return None
    if module not in adapter.modules:
        raise MergeError(
            f"{module} is missing in the adapter as it was before training",
            where=adapter.label,
            hint="--initial is the folder that was saved before the first step",
        )
    return adapter.factors(module)


def read_stored(ref: TensorRef) -> Tensor:
    """Return a tensor in its own type."""
    if ref.file.path.suffix != ".safetensors":
        return ref.read()
    with safe_open(ref.file.path, "pt") as file:
        tensor: Tensor = file.get_tensor(ref.name)
    return tensor
