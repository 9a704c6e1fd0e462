"""Content hashes (SHA-256) of files, adapters and plain data.

Hashes of large files are stored together with size and modification time, and used again while both
are the same, so that a 7B base is read once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustmerge.adapter.tensor_files import FULLY_TRAINED
from robustmerge.errors import reading
from robustmerge.files import sha256, write_json

_ADAPTER = (
    "adapter_config.json",
    "adapter_model.*",
    "adapter_model-*",
    *FULLY_TRAINED,
)
_BASE = ("*.json", "*.safetensors", "*.bin", "*.model", "*.jinja", "*.txt")
_LARGE = 1 << 20  # bytes; hashes of larger files are stored


class FileHashes:
    """Hashes of files, those of large files stored in the file `path`, if there is one."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the stored hashes; a file of anything else stays, and nothing is stored."""
        self.path = path
        self._known: dict[str, list[Any]] = {}
        if path is not None and path.is_file():
            with reading(path):
                try:
                    content = json.loads(path.read_text(encoding="utf-8"))
                except (ValueError, RecursionError):
                    content = None
            if isinstance(content, dict) and all(map(_is_entry, content.values())):
                self._known = content
            else:
                self.path = None

    def file(self, path: Path) -> str:
        """Return the hash of a file."""
        with reading(path):
            status = path.stat()
            if status.st_size < _LARGE:
                return sha256(path)
            key, state = str(path.resolve()), [status.st_size, status.st_mtime_ns]
            if self._known.get(key, [])[:2] != state:
                self._known[key] = [*state, sha256(path)]
                if self.path is not None:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    write_json(self.path, self._known)
        return str(self._known[key][2])

    def adapter(self, folder: Path) -> str:
        """Return the hash of an adapter's settings and tensors."""
        return self._folder(folder, _ADAPTER)

    def base(self, base: str) -> str:
        """Return the hash of a base model's folder; that of the name where it is no folder."""
        folder = Path(base)
        return self._folder(folder, _BASE) if folder.is_dir() else hash_of(base)

    def data(self, path: Path | None) -> str:
        """Return the hash of a file, or of the names and sizes in a folder; '' for None."""
        if path is None or path.is_file():
            return self.file(path) if path else ""
        with reading(path):
            files = sorted(p for p in path.rglob("*") if p.is_file())
            return hash_of([[str(p.relative_to(path)), p.stat().st_size] for p in files])

    def _folder(self, folder: Path, patterns: Sequence[str]) -> str:
        with reading(folder):
            files = sorted({p for pattern in patterns for p in folder.glob(pattern)})
        return hash_of([[path.name, self.file(path)] for path in files if path.is_file()])


def _is_entry(value: object) -> bool:
    """Return whether this is what is stored of a file: size, time and hash."""
    return isinstance(value, list) and [type(part) for part in value] == [int, int, str]


def hash_of(value: Mapping[str, Any] | Sequence[Any] | str) -> str:
    """Return the hash of plain data; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
