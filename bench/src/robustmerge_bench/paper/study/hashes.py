"""Contents by SHA-256: of files, adapters, and whatever else decides a result.

A 7B base is read once: hashes of large files are kept with the file's size and time, and believed
as long as these stay.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustmerge.errors import reading
from robustmerge.files import sha256, write_json

_ADAPTER = (
    "adapter_config.json",
    "adapter_model.*",
    "non_lora_trainables.bin",
    "non_lora.safetensors",
)
_BASE = ("*.json", "*.safetensors", "*.bin", "*.model", "*.jinja", "*.txt")
_LARGE = 1 << 20  # bytes from which on a file's hash is worth keeping


class FileHashes:
    """Hashes of files, the large ones remembered.

    Attributes:
        path: The file that remembers; None to forget.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Begin with what was remembered; a damaged file is as good as none."""
        self.path = path
        self._known: dict[str, list[Any]] = {}
        if path is not None and path.is_file():
            try:
                self._known = dict(json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, TypeError):
                self._known = {}

    def file(self, path: Path) -> str:
        """The hash of a file's contents.

        Raises:
            MergeError: It cannot be read.
        """
        with reading(path):
            found = path.stat()
            if found.st_size < _LARGE:
                return sha256(path)
            key, state = str(path.resolve()), [found.st_size, found.st_mtime_ns]
            if self._known.get(key, [])[:2] != state:
                self._known[key] = [*state, sha256(path)]
                self._remember()
        return str(self._known[key][2])

    def adapter(self, folder: Path) -> str:
        """The hash of an adapter's settings and tensors."""
        return self._folder(folder, _ADAPTER)

    def base(self, base: str) -> str:
        """The hash of a base model in a folder; a name that is none stands for itself."""
        folder = Path(base)
        return self._folder(folder, _BASE) if folder.is_dir() else of(base)

    def data(self, path: Path | None) -> str:
        """The hash of a file; of a folder, that of its files' names and sizes; '' of none."""
        if path is None or path.is_file():
            return self.file(path) if path else ""
        with reading(path):
            files = sorted(p for p in path.rglob("*") if p.is_file())
            return of([[str(p.relative_to(path)), p.stat().st_size] for p in files])

    def _folder(self, folder: Path, patterns: Sequence[str]) -> str:
        with reading(folder):
            files = sorted({p for pattern in patterns for p in folder.glob(pattern)})
        return of([[path.name, self.file(path)] for path in files if path.is_file()])

    def _remember(self) -> None:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_name(f"{self.path.name}.partial")
            write_json(partial, self._known)
            partial.replace(self.path)


def of(value: Mapping[str, Any] | Sequence[Any] | str) -> str:
    """The hash of plain data; the order of names does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
