"""The base model's checkpoint, of which only headers are read, and single tensors where needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import MergeError
from . import layout
from .config import read_json
from .reader import Place
from .source import snapshot
from .tensors import SafetensorsFile

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"


class Base:
    """A base model's tensors by canonical name.

    Attributes:
        label: What the user called it.
        tensors: Where every tensor is, from the headers.
    """

    def __init__(self, source: str) -> None:
        """Read the headers of a local checkpoint folder, or of one on the Hub.

        Raises:
            MergeError: No safetensors checkpoint is there, or two tensors have one name.
        """
        self.label = source
        folder = Path(source).expanduser()
        if not folder.is_dir():
            folder = _fetch(source)
        self.folder = folder
        self.tensors: Mapping[str, Place] = _read(folder)

    def module_shape(self, module: str) -> tuple[int, ...] | None:
        """Shape of a module's weight, None where the base has no such module."""
        place = self.tensors.get(f"{module}.weight")
        if place is None and module == "lm_head":  # tied to the embeddings and not stored
            place = next(
                (p for n, p in self.tensors.items() if n.endswith("embed_tokens.weight")), None
            )
        return place.spec.shape if place else None


def _fetch(source: str) -> Path:
    if source.count("/") != 1 or source.startswith((".", "~", "/")):
        raise MergeError(
            "no such folder, and not a Hub id", where=source, hint="a Hub id is owner/name"
        )
    wanted = [_SINGLE, _INDEX, "config.json"]
    folder = Path(snapshot(source, source, None, wanted))
    if (folder / _INDEX).is_file():
        return Path(snapshot(source, source, None, [*wanted, *_shards(folder)]))
    return folder


def _shards(folder: Path) -> list[str]:
    """The files an index names, which must lie in the folder itself."""
    weight_map = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise MergeError("the index has no weight_map", where=str(folder / _INDEX))
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise MergeError(
                f"the index names the file {name!r}, which is not a safetensors file of its folder",
                where=str(folder / _INDEX),
                hint="do not trust this checkpoint",
            )
    return names


def _read(folder: Path) -> dict[str, Place]:
    if (folder / _INDEX).is_file():
        names = _shards(folder)
    elif (folder / _SINGLE).is_file():
        names = [_SINGLE]
    else:
        raise MergeError(
            f"neither {_SINGLE} nor {_INDEX}",
            where=str(folder),
            hint="the base is read from safetensors; convert an older one with save_pretrained",
        )
    tensors: dict[str, Place] = {}
    for name in names:
        if not (folder / name).is_file():
            raise MergeError("a file named by the index is missing", where=str(folder / name))
        file = SafetensorsFile(folder / name)
        for raw, spec in file.specs.items():
            canonical = layout.canonical(raw)
            if canonical in tensors:
                raise MergeError(
                    "two tensors of the base are the same parameter",
                    where=f"{tensors[canonical]}\n{file.path}  {raw}",
                )
            tensors[canonical] = Place(file, raw, spec)
    return tensors
