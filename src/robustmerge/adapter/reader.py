"""One adapter: a lazy view of a folder in which every module's update is complete.

Scalings (alpha / rank, alpha / √rank) are folded into B here and nowhere else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from ..errors import MergeError
from ..factors import Factors
from . import layout
from .config import AdapterConfig
from .keys import FACTORS, Key, Part, parse
from .not_an_adapter import explain
from .promises import check_alone, check_promises
from .source import locate
from .stacked import StackedLayer, find_stacked, stacked_factors
from .tensor_files import NON_LORA, AdapterFiles
from .tensor_ref import FlatRef, HeldPieces, TensorRef, expert_factors, flat
from .tensors import DTYPES, wrong_type
from .wrapped import WrappedParameter, find_wrapped
from .wrappers import unknown_wrapper, unwrap


@dataclass(frozen=True)
class LoraModule:
    """One adapted module, from the headers alone.

    Attributes:
        name: Canonical name.
        written: Name in the file, without the prefix.
        part: Part.A for linear layers, Part.EMBEDDING_A for embeddings.
        A: The first factor [rank d_in].
        B: The second factor [d_out rank].
        scaling: The factor of the file's B A.
        wrapped: The parameter that it is, or the expert's part of it, where PEFT wraps parameters.
        stacked: The layer of all experts that it is a part of, where their tensors are 3-D.
    """

    name: str
    written: str
    part: Part
    A: TensorRef
    B: TensorRef
    scaling: float
    wrapped: WrappedParameter | None = None
    stacked: StackedLayer | None = None

    @property
    def rank(self) -> int:
        """Rank of the update."""
        return self.A.spec.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the delta: (d_out, d_in)."""
        return self.B.spec.shape[0], self.A.spec.shape[1]

    def factors(self) -> Factors:
        """Read the update in float32 (float64 stays), scaling folded into B."""
        A, B = self.A.read(), self.B.read()
        return Factors(A, B if self.scaling == 1 else B.mul_(self.scaling))

    @property
    def kernel(self) -> tuple[int, ...]:
        """Shape of A behind the rank for a convolution, whose factors are read as matrices."""
        if not isinstance(self.A, FlatRef):
            return ()
        return self.A.file.specs[self.A.name].shape[1:]


class Adapter:
    """An adapter folder.

    Attributes:
        label: What the user called it.
        folder: Its folder on this machine.
        config: Its settings.
        paths: Its tensor files.
        files: Those that a runtime looks for, opened.
        beside: The file that a merge put fully trained parameters into, opened; none or one.
        modules: The adapted modules by canonical name.
        extras: Fully trained parameters (projector, modules_to_save, magnitude vectors), by
            canonical name.
        bases: Copies of base weights that PEFT saves together with embedding LoRA.
        left_out: Tensors of modules and parameters that the user leaves out.
        left_out_experts: Modules that are parts of tensors, likewise.
        originals: Copies of the base's weights next to trained modules, which are not read.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        dora: bool = False,
        accepted: Collection[str] = (),
        leave_out: Sequence[str] = (),
        untrained: bool = False,
    ) -> None:
        """Read settings and headers; no tensor is read.

        Args:
            source: Folder or Hub id.
            dora: Accept a DoRA adapter, too: its magnitude vectors are among the extras.
            accepted: Unknown settings that the user says change nothing.
            leave_out: Shell patterns of canonical names whose tensors are not read.
            untrained: Accept an adapter whose start changes the base's weights.

        Raises:
            MergeError: the folder is not a complete, plain LoRA adapter.
        """
        self.label = str(source)
        self.folder = locate(self.label)
        if (error := explain(self.folder, self.label)) is not None:
            raise error
        self.config = AdapterConfig.read(
            self.folder, dora=dora, accepted=accepted, untrained=untrained
        )
        self.paths = AdapterFiles.find(self.folder, self.label)
        self.files, self.beside = self.paths.open()
        self.left_out: list[tuple[Key, TensorRef]] = []
        self.originals: list[str] = []
        parsed = self._parse(leave_out)
        check_promises(self.config, {key: ref.spec.shape for key, ref in (*parsed, *self.left_out)})
        self._held = HeldPieces()
        modules = self._pair(parsed)
        self.left_out_experts = [
            m for m in modules.values() if m.wrapped and leaves_out(m, leave_out)
        ]
        gone = {m.name for m in self.left_out_experts}
        self.modules: Mapping[str, LoraModule] = {
            name: m for name, m in modules.items() if name not in gone
        }
        self.extras: Mapping[str, TensorRef] = self._whole(
            parsed, (Part.FULL, Part.TOKENS, Part.MAGNITUDE)
        )
        self.bases: Mapping[str, TensorRef] = self._whole(parsed, (Part.BASE,))
        # Fully trained parameters in files of their own are put into the base, not into PEFT.
        weights = self.paths.weights
        check_alone(self.modules, {n: r for n, r in self.extras.items() if r.file.path in weights})
        self.written = {layout.canonical(k.module): k.module for k, _ in parsed}
        self.written |= {m.name: m.written for m in self.modules.values()}
        if not self.modules:
            raise MergeError(
                "no LoRA tensors in the file",
                where=str(self.paths.weights[0]),
                hint="it may be a full checkpoint, or an adapter of another kind",
            )

    @cached_property
    def wrappers(self) -> tuple[str, ...]:
        """What wraps names in the files, and is left out."""
        names = [name for file in (*self.files, *self.beside) for name in file.specs]
        return tuple(dict.fromkeys(wrapper for name in names for wrapper in unwrap(name)[1]))

    @cached_property
    def layout(self) -> str:
        """The layout of the names; folders of the original LLaVA code are known by their files."""
        original = any(file.path.name == NON_LORA for file in self.files)
        if original or any(".mm_projector." in n for n in self.written.values()):
            return layout.LLAVA
        return layout.detect(self.written.values())

    def factors(self, name: str) -> Factors:
        """Read a module's update in float32 (float64 stays), scaling folded into B."""
        return self.modules[name].factors()

    def close(self) -> None:
        """Release the files."""
        for file in (*self.files, *self.beside):
            file.close()
        self._held.clear()

    def _parse(self, leave_out: Sequence[str]) -> list[tuple[Key, TensorRef]]:
        """Take the names of all tensors apart."""
        parsed = []
        seen: dict[tuple[str, Part, str], TensorRef] = {}
        for file in (*self.files, *self.beside):
            for name, spec in file.specs.items():
                ref = TensorRef(file, name, spec)
                key = parse(name)
                if key is None:
                    raise without_place(ref)
                if key.part is Part.ORIGINAL:
                    self.originals.append(layout.canonical(key.module))
                    continue
                if is_left_out(key, leave_out) and not self._may_be_wrapped(key):
                    self.left_out.append((key, ref))
                    continue
                identity = (layout.canonical(key.module), key.part, key.leaf)
                if identity in seen:
                    raise same_parameter(seen[identity], ref)
                seen[identity] = ref
                self._refuse(key, ref)
                parsed.append((key, ref))
        return parsed

    def _refuse(self, key: Key, ref: TensorRef) -> None:
        if key.part is Part.FULL and ref.spec.dtype not in DTYPES:
            parameter = f"{layout.canonical(key.module)}.{key.leaf}".lstrip(".")
            raise wrong_type(ref.file.path, ref.name, ref.spec.dtype, parameter)
        check_values(ref)
        if key.part is Part.MAGNITUDE and not self.config.dora:
            raise MergeError(
                "a DoRA magnitude vector in an adapter whose settings do not say use_dora",
                where=f"{ref}\n{self.config.path}",
                hint="the settings belong to another adapter; find the right file",
            )
        if key.part is Part.LORA_BIAS:
            raise MergeError(
                "a bias of lora_B, which plain LoRA does not have",
                where=str(ref),
                hint="PEFT bakes it into the base: PeftModel.from_pretrained(base, FOLDER)"
                ".merge_and_unload(); or train with lora_bias=false",
            )

    def _may_be_wrapped(self, key: Key) -> bool:
        """Decide whether a tensor may hold several modules, which are left out one by one."""
        return key.part in (Part.A, Part.B) and bool(self.config.raw.get("target_parameters"))

    def _pair(self, parsed: list[tuple[Key, TensorRef]]) -> dict[str, LoraModule]:
        parts: dict[str, dict[Part, TensorRef]] = defaultdict(dict)
        lora = {*FACTORS, *FACTORS.values()}
        for key, ref in parsed:
            if key.part in lora:
                parts[key.module][key.part] = ref
        for written, tensors in parts.items():
            _check_complete(written, tensors)
        pairs = {n: (t[Part.A], t[Part.B]) for n, t in parts.items() if Part.A in t}
        wrapped, stacked = find_wrapped(self.config, pairs), find_stacked(self.config, pairs)
        modules: list[LoraModule] = []
        for written, tensors in parts.items():
            if written in wrapped:
                modules += self._experts(wrapped[written], *pairs[written])
            elif written in stacked:
                modules += self._stacked(stacked[written], *pairs[written])
            else:
                modules.append(self._module(written, tensors))
        return {module.name: module for module in modules}

    def _experts(self, wrapped: WrappedParameter, A: TensorRef, B: TensorRef) -> list[LoraModule]:
        scaling = self.config.scaling(f"{wrapped.module}.{wrapped.parameter}", wrapped.rank)
        factors = [(A, B)]
        if wrapped.experts > 1:
            factors = expert_factors(A, B, wrapped.rank, wrapped.experts, self._held)
        return [
            LoraModule(layout.canonical(w.name), w.name, Part.A, a, b, scaling, w)
            for w, (a, b) in zip(wrapped.each(), factors, strict=True)
        ]

    def _stacked(self, layer: StackedLayer, A: TensorRef, B: TensorRef) -> list[LoraModule]:
        scaling = self.config.scaling(layer.written, A.spec.shape[1])
        return [
            LoraModule(layout.canonical(name), name, Part.A, a, b, scaling, stacked=layer)
            for e, (a, b) in enumerate(stacked_factors(layer, A, B))
            for name in [layer.module(e)]
        ]

    def _module(self, written: str, tensors: dict[Part, TensorRef]) -> LoraModule:
        part = next(a for a in FACTORS if a in tensors)
        A, B = tensors[part], tensors[FACTORS[part]]
        self._check_shapes(written, A, B)
        rank = A.spec.shape[0]
        scaling = self.config.scaling(written, rank)
        return LoraModule(layout.canonical(written), written, part, flat(A), flat(B), scaling)

    def _check_shapes(self, written: str, A: TensorRef, B: TensorRef) -> None:
        a, b = A.spec.shape, B.spec.shape
        if len(a) != len(b) or not 2 <= len(a) <= 5 or any(size != 1 for size in b[2:]):
            raise MergeError(
                f"factors of shape {list(a)} and {list(b)}, which no linear layer or convolution "
                "has",
                where=f"{A}\n{B}",
                hint="the file is damaged or was written by another tool; merging with "
                f"--leave-out '{layout.canonical(written)}' does without this layer",
            )
        if a[0] != b[1] or 0 in (*a, *b):
            raise MergeError(
                f"A is {list(a)} and B is {list(b)}: A's rows and B's columns must be the rank",
                where=f"{A}\n{B}",
                hint="the file is damaged or was written by another tool",
            )
        if a[0] != self.config.rank_of(written):
            raise MergeError(
                f"{written} has rank {a[0]} in its tensors and "
                f"{self.config.rank_of(written)} in its settings, so its scaling is unknown",
                where=f"{A}\n{self.config.path}",
                hint="the settings belong to another adapter; find the right file, or correct r "
                "and rank_pattern",
            )

    def _whole(
        self, parsed: list[tuple[Key, TensorRef]], parts: tuple[Part, ...]
    ) -> dict[str, TensorRef]:
        return {
            layout.canonical(f"{key.module}.{key.leaf}".lstrip(".")): ref
            for key, ref in parsed
            if key.part in parts
        }


def is_left_out(key: Key, patterns: Sequence[str]) -> bool:
    """Decide whether a shell pattern matches a module, or a parameter, by its canonical name."""
    module = layout.canonical(key.module)
    names = (module, f"{module}.{key.leaf}".lstrip("."))
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def check_values(ref: TensorRef) -> None:
    """Check by the header that a tensor has values, of a type that an adapter may have.

    Raises:
        MergeError: it is empty, or of another type.
    """
    if ref.spec.dtype not in DTYPES:
        raise wrong_type(ref.file.path, ref.name, ref.spec.dtype)
    if 0 in ref.spec.shape:
        raise MergeError(
            f"an empty tensor {list(ref.spec.shape)}: it was saved before its values were "
            "gathered, as DeepSpeed's ZeRO-3 leaves them",
            where=str(ref),
            hint="save it with stage3_gather_16bit_weights_on_model_save, or take the values "
            "from the checkpoint with DeepSpeed's zero_to_fp32.py",
        )


def same_parameter(first: TensorRef, second: TensorRef) -> MergeError:
    """Make the error for two tensors of one name."""
    return MergeError(
        "two tensors are the same parameter",
        where=f"{first}\n{second}",
        hint="keep one of them; a trained state may hold several adapters",
    )


def leaves_out(module: LoraModule, patterns: Sequence[str]) -> bool:
    """Decide whether a shell pattern matches a module, or the module whose parameter it is."""
    assert module.wrapped is not None
    names = (module.name, layout.canonical(module.wrapped.module))
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _check_complete(written: str, tensors: Mapping[Part, TensorRef]) -> None:
    part = next((a for a in FACTORS if a in tensors), None)
    if part is None or FACTORS[part] not in tensors or len(tensors) != 2:
        raise MergeError(
            f"{written} has {', '.join(sorted(p.value for p in tensors))} only; "
            "an update needs both factors",
            where=str(next(iter(tensors.values()))),
            hint="the file is incomplete; save or fetch the adapter again",
        )


def without_place(ref: TensorRef) -> MergeError:
    """Make the error for a tensor with a name that no adapter has."""
    if wrapper := unknown_wrapper(unwrap(ref.name)[0].partition(".lora_")[0]):
        return MergeError(
            f"{wrapper!r} in a name, a wrapper that no rule here knows and no model has",
            where=str(ref),
            hint="save the adapter again from the model itself, not from what wraps it; or rename "
            "the tensors",
        )
    return MergeError(
        "a tensor that has no place in a LoRA adapter",
        where=str(ref),
        hint="remove it, or save the adapter with PEFT's save_pretrained",
    )
