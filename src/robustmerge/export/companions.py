"""The files of a base model's folder: its weights, and all others."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..adapter.base import Base
from ..adapter.source import local_folder, snapshot
from ..errors import MergeError
from ..files import check_inside, read_json

SETTINGS = "config.json"
INDEX = "model.safetensors.index.json"

_FETCHED = ["*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken"]
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".ckpt")
_OTHERS = ("readme.md", "merge.json", "export.json")
_TEMPLATES = "additional_chat_templates"


def open_base(source: str) -> Base:
    """Open the base with all of its weights and the files next to them.

    Raises:
        MergeError: the base is missing, or has no config.json.
    """
    base = Base(source)
    if local_folder(source) is None:
        snapshot(source, source, None, _FETCHED)
    if not (base.folder / SETTINGS).is_file():
        base.close()
        raise MergeError(
            f"no {SETTINGS}, so it is no model folder",
            where=source,
            hint="--base is the folder or Hub id of the model that the adapter was trained on",
        )
    return base


def read_settings(base: Base) -> dict[str, Any]:
    """Read the base's config.json."""
    return read_json(check_inside(base.folder / SETTINGS, base.folder))


def settings_file(source: str) -> Path:
    """Return the config.json of a base of which nothing else is needed.

    Raises:
        MergeError: there is none, or it cannot be fetched.
    """
    folder = local_folder(source) or Path(snapshot(source, source, None, [SETTINGS]))
    return check_inside(folder / SETTINGS, folder)


def weight_files(base: Base) -> list[Path]:
    """Return the weights' files."""
    return sorted({ref.file.path for ref in base.tensors.values()})


def other_files(base: Base) -> list[Path]:
    """Return settings, tokenizer, processor, templates, code: everything but the weights.

    Raises:
        MergeError: one of them is a link to something else on this machine.
    """
    paths = [path for path in sorted(base.folder.iterdir()) if _belongs(path)]
    for path in paths:
        for part in (path, *path.rglob("*")):
            check_inside(part, base.folder)
    return paths


def copy_all(paths: Iterable[Path], folder: Path) -> None:
    """Copy files, and folders of templates, into a folder."""
    for path in paths:
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copyfile(path, folder / path.name)


def link_all(paths: Iterable[Path], folder: Path) -> None:
    """Link files, by their full paths, into a folder."""
    for path in paths:
        (folder / path.name).symlink_to(path.parent.resolve() / path.name)


def _belongs(path: Path) -> bool:
    name = path.name.lower()
    if path.is_dir():
        return name == _TEMPLATES
    if name.startswith((".", "adapter_")) or name in _OTHERS:
        return False
    return path.suffix.lower() not in _WEIGHTS and not name.endswith(".index.json")
