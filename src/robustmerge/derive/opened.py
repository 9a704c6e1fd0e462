"""The folder of an adapter that is converted: every file of tensors in it is read or copied.

What holds for the inputs of a merge holds here: wrappers of training tools are left out of names,
what settings promise is in the files, and a tensor that has no values is refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..adapter.config import FILE, NO_SETTINGS, check_printable
from ..adapter.not_an_adapter import explain
from ..adapter.reader import TensorRef, check_values, without_place
from ..adapter.source import locate
from ..adapter.tensor_files import AdapterFiles
from ..adapter.tensors import TensorFile, TensorSpec
from ..adapter.tokenizer import write_tokenizer
from ..adapter.wrappers import unknown_wrapper, unwrap
from ..errors import MergeError
from ..files import read_json

_VOCABULARY = ("embed_tokens", "lm_head")


@dataclass(frozen=True)
class SourceFolder:
    """An opened adapter folder, from the headers alone.

    Attributes:
        label: What the user called it.
        folder: Where it is on this machine.
        raw: Its settings.
        file: Its tensors.
        tensors: The same by name, without PEFT's prefix and wrappers.
        others: Files of fully trained parameters next to it.
    """

    label: str
    folder: Path
    raw: Mapping[str, Any]
    file: TensorFile
    tensors: Mapping[str, TensorRef]
    others: tuple[TensorFile, ...]

    @classmethod
    def open(cls, source: str | Path) -> SourceFolder:
        """Read settings and headers.

        Raises:
            MergeError: no adapter, a file of tensors that is not known, or a damaged one.
        """
        folder = locate(str(source))
        if (error := explain(folder, str(source))) is not None:
            raise error
        raw = read_json(folder / FILE, if_missing=NO_SETTINGS)
        check_printable(raw, folder / FILE)
        files = AdapterFiles.find(folder, str(source))
        _check_one(files, folder)
        (file, *others), beside = files.open()
        return cls(str(source), folder, raw, file, _by_name(file), (*others, *beside))

    @property
    def settings(self) -> Path:
        """The file of its settings."""
        return self.folder / FILE

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that was read."""
        return (self.settings, self.file.path, *(other.path for other in self.others))

    @property
    def other_specs(self) -> dict[str, TensorSpec]:
        """Parameters of the files next to it, by name."""
        return {unwrap(n)[0]: s for other in self.others for n, s in other.specs.items()}

    def close(self) -> None:
        """Release the files."""
        for file in (self.file, *self.others):
            file.close()

    def pass_on(self, target: Path) -> None:
        """Copy the fully trained parameters next to it, and the tokenizer of rows that changed."""
        for other in self.others:
            shutil.copyfile(other.path, target / other.path.name)
        names = (*self.tensors, *self.other_specs)
        if any(part in name.split(".") for name in names for part in _VOCABULARY):
            write_tokenizer(self.folder, target, {})


def _check_one(files: AdapterFiles, folder: Path) -> None:
    if len(files.weights) > 1:
        raise MergeError(
            f"the weights are in {len(files.weights)} shards, and one file is converted",
            where=str(folder),
            hint="load and save the adapter with PEFT, which writes one file",
        )


def _by_name(file: TensorFile) -> dict[str, TensorRef]:
    """Return the tensors of a file by their names without prefix and wrappers."""
    tensors: dict[str, TensorRef] = {}
    for name, spec in file.specs.items():
        ref, (short, _) = TensorRef(file, name, spec), unwrap(name)
        if unknown_wrapper(short):
            raise without_place(ref)
        if short in tensors:
            raise MergeError(
                "two tensors are the same parameter",
                where=f"{tensors[short]}\n{ref}",
                hint="keep one of them; a trained state may hold several adapters",
            )
        check_values(ref)
        tensors[short] = ref
    return tensors
