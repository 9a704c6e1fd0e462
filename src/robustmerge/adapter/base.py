"""The base model's checkpoint, of which only headers are read, and single tensors where needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from ..errors import MergeError, advise_unexpanded, few, shown
from ..files import read_json
from . import layout
from .config import FILE as ADAPTER
from .not_an_adapter import no_regular_files
from .remote import fetch_headers, find_cached
from .source import is_hub_id, local_folder, snapshot
from .tensor_ref import TensorRef
from .tensors import SafetensorsFile, TensorFile
from .tokenizer import FILES as TOKENIZER

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_SETTINGS = "config.json"
_FILES = (_SETTINGS, "generation_config.json", _INDEX, *TOKENIZER)
_PROCESSORS = "processor_config.json"
"""The ending of the names of preprocessor_config.json and its like."""


class Base:
    """A base model's tensors by canonical name.

    Attributes:
        label: What the user called it.
        tensors: Every tensor in its file, from the headers.
    """

    def __init__(self, source: str, *, headers_only: bool = False) -> None:
        """Read the headers of a local checkpoint folder, or of one on the Hub.

        Args:
            source: Folder or Hub id.
            headers_only: No tensor is going to be read, so that nothing else need be downloaded.

        Raises:
            MergeError: the folder has no safetensors checkpoint, or two tensors have one name.
        """
        self.label = source
        folder = local_folder(source)
        files: Sequence[TensorFile] = ()
        if folder is None:
            _check_id(source)
            if headers_only and (folder := _whole(find_cached(source))) is None:
                files = fetch_headers(source)
                folder = Path(snapshot(source, source, None, [_SETTINGS]))
        self.folder = folder or _fetch(source)
        check_model_files(self.folder, source)
        self.tensors: Mapping[str, TensorRef] = _by_name(files or _open(self.folder))

    def close(self) -> None:
        """Release the files."""
        for ref in self.tensors.values():
            ref.file.close()

    def with_tensors(self, tensors: Mapping[str, TensorRef]) -> Base:
        """Return the same model with other tensors by canonical name, in the same files."""
        other = object.__new__(Base)
        other.label, other.folder, other.tensors = self.label, self.folder, tensors
        return other

    def weight(self, module: str) -> TensorRef | None:
        """Return a module's weight, None where the base has none under this name.

        A head tied to the embeddings is not stored, so theirs is returned. torch's own attention
        has one weight for three projections, under a name of its own.
        """
        for name in (f"{module}.weight", f"{module}.in_proj_weight"):
            if name in self.tensors:
                return self.tensors[name]
        if module != "lm_head":
            return None
        return next((p for n, p in self.tensors.items() if n.endswith("embed_tokens.weight")), None)

    def module_shape(self, module: str) -> tuple[int, ...] | None:
        """Return the shape of a module's weight, None where the base has no such module."""
        ref = self.weight(module)
        return ref.spec.shape if ref else None

    @cached_property
    def modules(self) -> frozenset[str]:
        """Canonical names of all modules, those that only hold others included."""
        parts = [name.split(".") for name in self.tensors]
        tied = {"lm_head"} if self.weight("lm_head") else set()
        return frozenset({".".join(p[:n]) for p in parts for n in range(1, len(p))} | tied)

    @cached_property
    def text_only(self) -> bool:
        """Whether it is a language model without vision, with the names such a model has."""
        return all(
            layout.tower(name) not in ("vision", "connector")
            and layout.written(name, layout.FLAT) == ref.name
            for name, ref in self.tensors.items()
        )

    @cached_property
    def family(self) -> str:
        """What transformers calls this kind of model, '' where no config.json says."""
        path = self.folder / _SETTINGS
        return str(read_json(path).get("model_type") or "") if path.is_file() else ""


def check_model_files(folder: Path, label: str) -> None:
    """Check that a model's settings, tokenizer, processor and index are files, where there are any.

    Raises:
        MergeError: one is a link to nothing, a pipe or a device, and would count as missing.
    """
    broken = [path for path in sorted(folder.iterdir()) if not path.is_file()]
    if broken := [p for p in broken if p.name in _FILES or p.name.endswith(_PROCESSORS)]:
        raise no_regular_files(broken, label)


def is_checkpoint(folder: Path) -> bool:
    """Decide whether a folder holds a checkpoint that can be read."""
    return any((folder / name).is_file() for name in (_INDEX, _SINGLE))


def _check_id(source: str) -> None:
    if not is_hub_id(source):
        raise MergeError(
            "no such folder, and not a Hub id",
            where=source,
            hint=advise_unexpanded(source) or "a Hub id is owner/name",
        )


def _fetch(source: str) -> Path:
    wanted = [_SINGLE, _INDEX, _SETTINGS]
    folder = Path(snapshot(source, source, None, wanted))
    if (folder / _INDEX).is_file():
        return Path(snapshot(source, source, None, [*wanted, *_shards(folder)]))
    return folder


def _whole(folder: Path | None) -> Path | None:
    """Return the folder if the whole checkpoint is in it."""
    if folder is None:
        return None
    names = _shards(folder) if (folder / _INDEX).is_file() else [_SINGLE]
    return folder if all((folder / name).is_file() for name in names) else None


def _shards(folder: Path) -> list[str]:
    """Return the files an index names, which must lie in the folder itself."""
    weight_map = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise MergeError(
            "the index has no weight_map", where=str(folder / _INDEX), hint="fetch the file again"
        )
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise MergeError(
                f"the index names the file {name!r}, which is not a safetensors file of its folder",
                where=str(folder / _INDEX),
                hint="do not trust this checkpoint",
            )
    return names


def _open(folder: Path) -> list[TensorFile]:
    if (folder / _INDEX).is_file():
        names = _shards(folder)
    elif (folder / _SINGLE).is_file():
        names = [_SINGLE]
    else:
        raise _no_checkpoint(folder)
    for name in names:
        if not (folder / name).is_file():
            raise MergeError(
                "a file named by the index is missing",
                where=str(folder / name),
                hint="fetch the rest of the checkpoint",
            )
    return [SafetensorsFile(folder / name) for name in names]


def _no_checkpoint(folder: Path) -> MergeError:
    """Answer for a folder that is no base model, from what is in it."""
    problem, hint = f"neither {_SINGLE} nor {_INDEX}", "name a folder that save_pretrained wrote"
    runs = sorted(path.parent.name for path in folder.glob(f"*/{_SETTINGS}"))
    if (folder / ADAPTER).is_file():
        named = read_json(folder / ADAPTER).get("base_model_name_or_path")
        problem += ", but an adapter"
        hint = f"name the model that it changes{f', {shown(named)}' if named else ''}"
    elif any(path.suffix in (".bin", ".pt", ".pth") for path in folder.iterdir()):
        problem += ", but a checkpoint of torch's own format"
        hint = (
            "load it with AutoModel.from_pretrained and save it with save_pretrained, which "
            "writes safetensors"
        )
    elif runs:
        problem += f", but folders with models in them: {few(runs)}"
        hint = f"name one of them, such as {folder / runs[-1]}"
    return MergeError(problem, where=str(folder), hint=hint)


def _by_name(files: Sequence[TensorFile]) -> dict[str, TensorRef]:
    tensors: dict[str, TensorRef] = {}
    for file in files:
        for raw, spec in file.specs.items():
            canonical = layout.canonical(raw)
            if canonical in tensors:
                raise MergeError(
                    "two tensors of the base are the same parameter",
                    where=f"{tensors[canonical]}\n{file.path}  {raw}",
                    hint="a base model is one checkpoint; fetch it into a folder of its own",
                )
            tensors[canonical] = TensorRef(file, raw, spec)
    return tensors
