"""A trained benchmark on disk: a base, and sets of experts.

base/                              the base model
experts/<init>-<seed>/<task>/      one PEFT folder per seen task
experts/<init>-<seed>/joint/       one adapter trained on all of them
experts/<init>-<seed>-frozen/      the same with the projector frozen
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustmerge.adapter.reader import Adapter
from robustmerge.adapter.tensors import open_tensors
from robustmerge.errors import MergeError
from robustmerge.files import read_json

JOINT = "joint"
_BASE_FILES = ("*.safetensors", "config.json", "tokenizer.json")
_ADAPTER_FILES = ("adapter_model.*", "adapter_config.json")


@dataclass(frozen=True)
class ExpertSet:
    """Experts that were trained alike.

    Attributes:
        init: Start of A: shared by all experts, or independent.
        frozen: The projector was not trained.
    """

    folder: Path
    init: str
    seed: int
    frozen: bool = False

    @property
    def name(self) -> str:
        """The folder's name, such as shared-0."""
        return self.folder.name

    @property
    def family(self) -> str:
        """The common name of sets of several seeds, such as shared or shared-frozen."""
        return self.init + ("-frozen" if self.frozen else "")

    def adapters(self, names: Sequence[str]) -> tuple[Path, ...]:
        """Return the adapters of these tasks, of which settings and headers are read.

        Raises:
            MergeError: one is missing or damaged.
        """
        missing = [n for n in names if not (self.folder / n / "adapter_config.json").is_file()]
        if missing:
            raise MergeError(
                f"no adapter for {', '.join(missing)}",
                where=str(self.folder),
                hint="train it first: robustmerge bench mini train",
            )
        folders = tuple(self.folder / name for name in names)
        for folder in folders:
            Adapter(folder).close()
        return folders

    @property
    def joint(self) -> Path | None:
        """The adapter trained on all tasks, if there is one.

        A single adapter shares its start of A with no other, so that the one next to experts of
        the other kind of start serves as well.
        """
        other = self.folder.with_name(f"shared-{self.seed}")
        for folder in (self.folder / JOINT, other / JOINT):
            if (folder / "adapter_config.json").is_file():
                return folder
        return None


def base_folder(root: Path) -> Path:
    """Return the base model's folder, of which settings and headers are read.

    Raises:
        MergeError: there is none, or it is damaged.
    """
    base = root / "base"
    if not (base / "config.json").is_file():
        raise MergeError(
            "no trained base", where=str(base), hint="train it first: robustmerge bench mini train"
        )
    read_json(base / "config.json")
    weights = sorted(base.glob("*.safetensors"))
    if not weights:
        raise MergeError(
            "a base without weights", where=str(base), hint="copy or train it again, whole"
        )
    for path in weights:
        open_tensors(path).close()
    return base


def expert_sets(
    root: Path, inits: Iterable[str], seeds: Iterable[int], *, frozen: bool = False
) -> list[ExpertSet]:
    """Return sets of experts."""
    folder = root / "experts"
    ending = "-frozen" if frozen else ""
    seeds = list(seeds)
    sets = [
        ExpertSet(folder / f"{init}-{seed}{ending}", init, seed, frozen)
        for init in inits
        for seed in seeds
    ]
    missing = [each.name for each in sets if not each.folder.is_dir()]
    if missing:
        present = sorted(p.name for p in folder.glob("[!.]*") if p.is_dir())
        raise MergeError(
            f"no experts {', '.join(missing)}",
            where=str(folder),
            hint=f"there are {', '.join(present) or 'none'}; choose with --init and --seeds",
        )
    return sets


def hash_of_base(folder: Path) -> str:
    """Return the SHA-256 of the files that decide the base's answers."""
    return _hash(folder, _BASE_FILES)


def hash_of_adapter(folder: Path) -> str:
    """Return the SHA-256 of an adapter's weights and settings."""
    return _hash(folder, _ADAPTER_FILES)


def _hash(folder: Path, patterns: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for path in sorted({p for pattern in patterns for p in folder.glob(pattern)}):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
