"""An adapter folder as it is, refused or not: to be looked at rather than merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..adapter import layout
from ..adapter.base import Base
from ..adapter.config import FILE, AdapterConfig
from ..adapter.keys import FACTORS, Key, Part, parse
from ..adapter.reader import Adapter, LoraModule
from ..adapter.source import locate
from ..adapter.stacked import StackedLayer
from ..adapter.tensor_files import BESIDE, FULLY_TRAINED, has_weights, weight_files
from ..adapter.tensor_ref import TensorRef
from ..adapter.tensors import TensorFile, open_tensors
from ..errors import MergeError
from ..files import read_json

LORA = frozenset({*FACTORS, *FACTORS.values()})


@dataclass(frozen=True)
class NamedTensor:
    """One tensor with its name taken apart.

    Attributes:
        key: The parts of the name.
        ref: The tensor in its file.
    """

    key: Key
    ref: TensorRef

    @property
    def written(self) -> str:
        """The parameter's name in the file, without prefix and LoRA suffix."""
        return f"{self.key.module}.{self.key.leaf}".strip(".")

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.ref.spec.shape


@dataclass(frozen=True)
class LoraPair:
    """The factors of one module, of which the second may be missing."""

    A: NamedTensor
    B: NamedTensor | None

    @property
    def written(self) -> str:
        """The module's name in the file."""
        return self.A.key.module

    @property
    def name(self) -> str:
        """The module's canonical name."""
        return layout.canonical(self.written)

    @property
    def rank(self) -> int:
        """Rank of the update."""
        return self.A.shape[0] if self.A.shape else 0


@dataclass(frozen=True)
class Contents:
    """The contents of an adapter folder.

    Attributes:
        label: What the user called it.
        config: Its settings; empty where they cannot be read.
        files: Its tensor files, of which unreadable ones are left out.
        adapter: The adapter as a merge reads it, None where it is refused.
        refusals: Why it is refused, most important first.
        base: The base model, where the user named one.
    """

    label: str
    config: AdapterConfig
    files: tuple[TensorFile, ...]
    adapter: Adapter | None
    refusals: tuple[MergeError, ...]
    base: Base | None = None

    @classmethod
    def open(cls, source: str | Path, base: Base | None = None) -> Contents:
        """Read as much of the settings and headers as can be read."""
        label = str(source)
        try:
            adapter = Adapter(source)
        except MergeError as error:
            config, files, refusals = _salvage(label)
            different = {str(e): e for e in (error, *refusals)}
            return cls(label, config, files, None, tuple(different.values()), base)
        return cls(label, adapter.config, tuple(adapter.files), adapter, (), base)

    @property
    def folder(self) -> Path:
        """The folder."""
        return self.config.path.parent

    @cached_property
    def items(self) -> tuple[NamedTensor, ...]:
        """All tensors whose names PEFT knows."""
        parsed = ((parse(ref.name), ref) for ref in self._refs())
        return tuple(
            NamedTensor(key, ref)
            for key, ref in parsed
            if key is not None and key.part is not Part.ORIGINAL
        )

    @cached_property
    def unknown_names(self) -> tuple[str, ...]:
        """Names of tensors that no adapter has."""
        return tuple(ref.name for ref in self._refs() if parse(ref.name) is None)

    @cached_property
    def wrapped(self) -> Mapping[str, LoraModule]:
        """A module of each of PEFT's wrappers of parameters, by the wrapper's name in the file."""
        modules = self.adapter.modules.values() if self.adapter is not None else ()
        return {m.wrapped.wrapper: m for m in modules if m.wrapped}

    @cached_property
    def stacked(self) -> Mapping[str, StackedLayer]:
        """The layers of all experts whose tensors are 3-D, by their names in the file."""
        modules = self.adapter.modules.values() if self.adapter is not None else ()
        return {m.stacked.written: m.stacked for m in modules if m.stacked}

    @cached_property
    def loras(self) -> tuple[LoraPair, ...]:
        """The adapted modules, in the file's order; experts of shared tensors are last."""
        by_key = {(i.key.module, i.key.part): i for i in self.items}
        shared = self.wrapped.keys() | self.stacked.keys()
        own = [
            LoraPair(i, by_key.get((i.key.module, FACTORS[i.key.part])))
            for i in self.items
            if i.key.part in FACTORS and i.key.module not in shared
        ]
        modules = self.adapter.modules.values() if self.adapter else ()
        return (*own, *(_expert(m) for m in modules if m.wrapped or m.stacked))

    @cached_property
    def fully_trained(self) -> tuple[NamedTensor, ...]:
        """Fully trained parameters, and rows of embeddings."""
        return self.of(Part.FULL, Part.TOKENS)

    @cached_property
    def layout(self) -> str:
        """The layout of the names, '' where there are no modules."""
        if not self.items:
            return ""
        if self.adapter is not None:
            return self.adapter.layout
        return layout.detect(i.key.module for i in self.items)

    @cached_property
    def text_only(self) -> bool | None:
        """Whether the base is a language model without vision; None where that is unknown."""
        if self.base is not None:
            return self.base.text_only
        if self.layout == layout.LLAVA:
            return False
        mapping = self.config.raw.get("auto_mapping")
        kind = str(mapping.get("base_model_class")) if isinstance(mapping, dict) else ""
        if kind.endswith(("ForCausalLM", "ForConditionalGeneration")):
            return kind.endswith("ForCausalLM")
        return None if self.layout == layout.FLAT and not self.outside_language() else False

    @cached_property
    def base_settings(self) -> Mapping[str, Any]:
        """The base's config.json; empty where there is no base or no such file.

        Raises:
            MergeError: the file is no JSON table.
        """
        path = self.base.folder / "config.json" if self.base is not None else None
        return read_json(path) if path is not None and path.is_file() else {}

    @property
    def text_kind(self) -> str:
        """What transformers calls the base's language model, '' where that is unknown."""
        text = self.base_settings.get("text_config")
        settings = text if isinstance(text, dict) and "model_type" in text else self.base_settings
        return str(settings.get("model_type") or "")

    @property
    def base_is_tied(self) -> bool | None:
        """Whether the base's embeddings and head are one weight; None where that is unknown."""
        if self.base is None:
            return None
        text = self.base_settings.get("text_config")
        tables = [self.base_settings, *([text] if isinstance(text, dict) else [])]
        values = [t["tie_word_embeddings"] for t in tables if "tie_word_embeddings" in t]
        return bool(values[0]) if values else "lm_head.weight" not in self.base.tensors

    def of(self, *parts: Part) -> tuple[NamedTensor, ...]:
        """Return the tensors of these parts."""
        return tuple(i for i in self.items if i.key.part in parts)

    def live(self, written: str) -> str:
        """Return a module's or parameter's name in the model that transformers builds now."""
        name = layout.canonical(written)
        return layout.written(name, layout.FLAT) if self.text_only else name

    def outside_language(self) -> list[str]:
        """Return the canonical names of the adapted modules outside the language model."""
        return [lora.name for lora in self.loras if layout.tower(lora.name) != "language"]

    def close(self) -> None:
        """Release the files."""
        for file in self.files:
            file.close()

    def _refs(self) -> Iterator[TensorRef]:
        for file in self.files:
            for name, spec in file.specs.items():
                yield TensorRef(file, name, spec)


def _expert(module: LoraModule) -> LoraPair:
    A, B = (
        NamedTensor(Key(module.written, part), ref)
        for part, ref in ((Part.A, module.A), (Part.B, module.B))
    )
    return LoraPair(A, B)


def _salvage(label: str) -> tuple[AdapterConfig, tuple[TensorFile, ...], list[MergeError]]:
    """Read the settings and files of a refused adapter, and collect why others are unreadable."""
    refusals: list[MergeError] = []
    files: list[TensorFile] = []
    try:
        folder = locate(label)
    except MergeError as error:
        return AdapterConfig(Path(label) / FILE, {}), (), [error]
    raw = {}
    # Where one of the two is missing, the adapter's own error says so.
    if (folder / FILE).exists():
        try:
            raw = read_json(folder / FILE, strict=True)
        except MergeError as error:
            refusals.append(error)
    paths: tuple[Path, ...] = ()
    if has_weights(folder):
        try:
            paths = weight_files(folder, label)
        except MergeError as error:
            refusals.append(error)
    trained = [folder / n for n in FULLY_TRAINED if n != BESIDE and (folder / n).is_file()]
    for path in (*paths, *trained):
        try:
            files.append(open_tensors(path))
        except MergeError as error:
            refusals.append(error)
    return AdapterConfig(folder / FILE, raw), tuple(files), refusals
