"""One adapter: a lazy view of a folder in which every module's update is complete.

Scalings (alpha / rank, alpha / √rank) are folded into B here and nowhere else.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from torch import Tensor

from ..errors import MergeError
from ..factors import Factors
from . import layout
from .config import AdapterConfig
from .keys import FACTORS, Key, Part, parse
from .not_an_adapter import explain
from .promises import check_promises
from .source import locate
from .tensor_files import NON_LORA, AdapterFiles
from .tensors import DTYPES, TensorFile, TensorSpec, wrong_type
from .wrappers import unknown_wrapper, unwrap


@dataclass(frozen=True)
class TensorRef:
    """A tensor in a file: the file, its name there, and its type and shape."""

    file: TensorFile
    name: str
    spec: TensorSpec

    def __str__(self) -> str:
        return f"{self.file.path}  {self.name}"

    def read(self) -> Tensor:
        """Read the tensor in float32 (float64 stays).

        Raises:
            MergeError: the tensor holds NaN or infinity.
        """
        tensor = self.file.read(self.name)
        # The sum is not finite if an entry is not; the reverse is checked only then.
        if not math.isfinite(tensor.sum()) and not tensor.isfinite().all():
            bad = int((~tensor.isfinite()).sum())
            raise MergeError(
                f"{bad} of {tensor.numel()} values are NaN or infinite",
                where=str(self),
                hint="the training run diverged or the file is damaged; use another checkpoint",
            )
        return tensor


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
    """

    name: str
    written: str
    part: Part
    A: TensorRef
    B: TensorRef
    scaling: float

    @property
    def rank(self) -> int:
        """Rank of the update."""
        return self.A.spec.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the delta: (d_out, d_in)."""
        return self.B.spec.shape[0], self.A.spec.shape[1]


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
    """

    def __init__(
        self,
        source: str | Path,
        *,
        dora: bool = False,
        accepted: Collection[str] = (),
        leave_out: Sequence[str] = (),
    ) -> None:
        """Read settings and headers; no tensor is read.

        Args:
            source: Folder or Hub id.
            dora: Accept a DoRA adapter, too: its magnitude vectors are among the extras.
            accepted: Unknown settings that the user says change nothing.
            leave_out: Shell patterns of canonical names whose tensors are not read.

        Raises:
            MergeError: the folder is not a complete, plain LoRA adapter.
        """
        self.label = str(source)
        self.folder = locate(self.label)
        if (error := explain(self.folder, self.label)) is not None:
            raise error
        self.config = AdapterConfig.read(self.folder, dora=dora, accepted=accepted)
        self.paths = AdapterFiles.find(self.folder, self.label)
        self.files, self.beside = self.paths.open()
        self.left_out: list[tuple[Key, TensorRef]] = []
        parsed = self._parse(leave_out)
        check_promises(self.config, {key: ref.spec.shape for key, ref in (*parsed, *self.left_out)})
        self.modules: Mapping[str, LoraModule] = self._pair(parsed)
        self.extras: Mapping[str, TensorRef] = self._whole(
            parsed, (Part.FULL, Part.TOKENS, Part.MAGNITUDE)
        )
        self.bases: Mapping[str, TensorRef] = self._whole(parsed, (Part.BASE,))
        self.written = {layout.canonical(k.module): k.module for k, _ in parsed}
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
        module = self.modules[name]
        A, B = module.A.read(), module.B.read()
        return Factors(A, B if module.scaling == 1 else B.mul_(module.scaling))

    def close(self) -> None:
        """Release the files."""
        for file in (*self.files, *self.beside):
            file.close()

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
                if is_left_out(key, leave_out):
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

    def _pair(self, parsed: list[tuple[Key, TensorRef]]) -> dict[str, LoraModule]:
        parts: dict[str, dict[Part, TensorRef]] = defaultdict(dict)
        lora = {*FACTORS, *FACTORS.values()}
        for key, ref in parsed:
            if key.part in lora:
                parts[key.module][key.part] = ref
        modules = (self._module(written, tensors) for written, tensors in parts.items())
        return {module.name: module for module in modules}

    def _module(self, written: str, tensors: dict[Part, TensorRef]) -> LoraModule:
        part = next((a for a in FACTORS if a in tensors), None)
        if part is None or FACTORS[part] not in tensors or len(tensors) != 2:
            any_tensor = next(iter(tensors.values()))
            raise MergeError(
                f"{written} has {', '.join(sorted(p.value for p in tensors))} only; "
                "an update needs both factors",
                where=str(any_tensor),
                hint="the file is incomplete; save or fetch the adapter again",
            )
        A, B = tensors[part], tensors[FACTORS[part]]
        self._check_shapes(written, A, B)
        rank = A.spec.shape[0]
        scaling = self.config.scaling(written, rank)
        return LoraModule(layout.canonical(written), written, part, A, B, scaling)

    def _check_shapes(self, written: str, A: TensorRef, B: TensorRef) -> None:
        a, b = A.spec.shape, B.spec.shape
        if len(a) != 2 or len(b) != 2:
            raise MergeError(
                f"factors of shape {list(a)} and {list(b)}; those of a linear layer have two axes",
                where=str(A),
                hint="LoRA on convolutions is not supported: merging with --leave-out "
                f"'{layout.canonical(written)}' loses this layer's update, and says how much that "
                "is; PEFT's merge_and_unload() bakes it into the base",
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
    names = (module, f"{module}.{key.leaf}")
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
