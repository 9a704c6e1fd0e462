"""The folder of an adapter that is converted: every file of tensors in it is read or copied.

What holds for the inputs of a merge holds here: wrappers of training tools are left out of names,
what settings promise is in the files, and a tensor that has no values is refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..adapter.config import FILE, NO_SETTINGS, AdapterConfig, check_printable
from ..adapter.keys import parse
from ..adapter.not_an_adapter import explain
from ..adapter.promises import check_promises
from ..adapter.reader import check_values, same_parameter, without_place
from ..adapter.source import locate
from ..adapter.tensor_files import AdapterFiles
from ..adapter.tensor_ref import TensorRef
from ..adapter.tensors import TensorFile, TensorSpec
from ..adapter.tokenizer import changes_vocabulary, write_tokenizer
from ..adapter.wrappers import unknown_wrapper, unwrap
from ..files import read_json


@dataclass(frozen=True)
class SourceFolder:
    """An opened adapter folder, from the headers alone.

    Attributes:
        label: What the user called it.
        folder: Where it is on this machine.
        raw: Its settings.
        weights: The files of its tensors.
        tensors: Its tensors by name, without PEFT's prefix and wrappers.
        others: Files of fully trained parameters next to it.
    """

    label: str
    folder: Path
    raw: Mapping[str, Any]
    weights: tuple[TensorFile, ...]
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
        raw = read_json(folder / FILE, if_missing=NO_SETTINGS, strict=True)
        check_printable(raw, folder / FILE)
        files = AdapterFiles.find(folder, str(source))
        own, beside = files.open()
        count = len(files.weights)
        weights, others = tuple(own[:count]), (*own[count:], *beside)
        return cls(str(source), folder, raw, weights, _by_name(weights), others)

    @property
    def settings(self) -> Path:
        """The file of its settings."""
        return self.folder / FILE

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that was read."""
        return (self.settings, *(file.path for file in (*self.weights, *self.others)))

    @property
    def where(self) -> str:
        """The file of its tensors, or the first of its shards, as errors name it."""
        return str(self.weights[0].path)

    @property
    def other_specs(self) -> dict[str, TensorSpec]:
        """Parameters of the files next to it, by name."""
        return {unwrap(n)[0]: s for other in self.others for n, s in other.specs.items()}

    def check_promises(self, config: AdapterConfig, own: Mapping[str, TensorSpec]) -> None:
        """Check that what settings promise is in the files.

        Args:
            config: The settings.
            own: Fully trained parameters of the adapter's own file, by name.

        Raises:
            MergeError: it is not.
        """
        specs = {**own, **self.other_specs}
        keys = {key: spec.shape for name, spec in specs.items() if (key := parse(name))}
        check_promises(config, keys)

    def close(self) -> None:
        """Release the files."""
        for file in (*self.weights, *self.others):
            file.close()

    def pass_on(self, target: Path) -> None:
        """Copy the fully trained parameters next to it, and the tokenizer of rows that changed."""
        names = (*self.tensors, *self.other_specs)
        copy_companions(self.folder, [other.path for other in self.others], names, target)


def copy_companions(
    folder: Path, files: Iterable[Path], names: Iterable[str], target: Path
) -> None:
    """Copy files of fully trained parameters, and the tokenizer of rows that changed.

    Args:
        folder: The adapter.
        files: The files of fully trained parameters next to its weights.
        names: All modules and parameters that it changes.
        target: Where to copy to.
    """
    for file in files:
        shutil.copyfile(file, target / file.name)
    if changes_vocabulary(names):
        write_tokenizer(folder, target, {})


def _by_name(files: Sequence[TensorFile]) -> dict[str, TensorRef]:
    """Return the tensors of files by their names without prefix and wrappers."""
    tensors: dict[str, TensorRef] = {}
    stored = [TensorRef(file, name, spec) for file in files for name, spec in file.specs.items()]
    for ref in stored:
        short, _ = unwrap(ref.name)
        if unknown_wrapper(short):
            raise without_place(ref)
        if short in tensors:
            raise same_parameter(tensors[short], ref)
        check_values(ref)
        tensors[short] = ref
    return tensors
