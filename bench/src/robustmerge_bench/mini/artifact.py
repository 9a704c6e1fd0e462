"""The trained benchmark as a small folder: half precision, with hashes of all files.

    manifest.json
    training.json               the training's settings; a copy of the folder takes more experts
    base/                       a model for transformers
    experts/shared-0/sqa/       an adapter for PEFT; one folder for each task, and joint/

The layout is that of a training's root, with one of its sets of experts, so that an artifact can be
used as a root. The manifest has the command, the versions, the SHA-256 of every file, and
fingerprints of the world, since models of one world are useless in another.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from robustmerge import __version__
from robustmerge.adapter.tensors import open_tensors
from robustmerge.errors import MergeError, few, reading, shown
from robustmerge.files import read_json, sha256, write_json
from robustmerge.outputs import ResultKind, check_target, whole_folder

from .tasks import SEEN, TASKS
from .training.experts import JOINT
from .world.splits import SPLITS
from .world.words import vocabulary

MANIFEST = "manifest.json"
FORMAT = 1
LARGEST = 20_000_000  # bytes: it is part of the repository
PACKAGES = ("torch", "transformers", "peft", "numpy", "pillow")
WEIGHTS = "model.safetensors"
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Artifact:
    """A folder whose files are those of its manifest."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def base(self) -> Path:
        """The base model."""
        return self.folder / "base"

    @property
    def experts(self) -> dict[str, Path]:
        """The expert of each seen task."""
        return {task: self._set / task for task in SEEN}

    @property
    def joint(self) -> Path:
        """The adapter that was trained on all seen tasks together."""
        return self._set / JOINT

    @property
    def _set(self) -> Path:
        return self.folder / "experts" / str(self.manifest["experts"])


# --- Writing --------------------------------------------------------------------------------------


def _listed_files(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    return {name: file["sha256"] for name, file in manifest["files"].items()}


KIND = ResultKind("an artifact", MANIFEST, _listed_files)


def pack(
    root: Path,
    out: Path,
    *,
    made_by: Mapping[str, Any],
    experts: str = "shared-0",
    largest: int = LARGEST,
    force: bool = False,
) -> Artifact:
    """Write base, a set of experts and joint adapter of a training in half precision.

    `root` is the training's folder: training.json, base/ and experts/<set>/<task>/. `made_by` is
    its command, seed and notes. Weights beyond float16 and more than `largest` bytes are refused.
    """
    base, adapters = root / "base", [root / "experts" / experts / name for name in (*SEEN, JOINT)]
    inputs = [root, base, *adapters]
    check_target(out, KIND, inputs, force=force)
    with whole_folder(out, KIND, inputs, force=force) as partial:
        halve_model(base, partial / "base")
        for adapter in adapters:
            halve_adapter(adapter, partial / "experts" / experts / adapter.name)
        write_json(partial / "training.json", read_json(root / "training.json"))
        facts = {"made_by": dict(made_by), "experts": experts, "world": fingerprints()}
        manifest = write_manifest(partial, facts, largest, root)
    return Artifact(out, manifest)


def write_manifest(
    folder: Path, facts: Mapping[str, Any], largest: int, root: Path
) -> dict[str, Any]:
    """Write the manifest of all files in a folder with these facts; return it.

    More than `largest` bytes in all are refused; `root` is the training that the error names.
    """
    files: dict[str, dict[str, Any]] = {
        name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for name, path in find_files(folder).items()
    }
    manifest = {
        "format": FORMAT,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "versions": {"robustmerge": __version__} | {name: version(name) for name in PACKAGES},
        "bytes": sum(file["bytes"] for file in files.values()),
        "files": files,
        **facts,
    }
    if manifest["bytes"] > largest:
        raise MergeError(
            f"the artifact has {manifest['bytes']:,} bytes, and {largest:,} are the most",
            where=str(root),
            hint="pack a smaller model, or experts of a smaller rank",
        )
    write_json(folder / MANIFEST, manifest)
    return manifest


def halve_model(source: Path, target: Path) -> None:
    """Copy a model's folder; its weights and the type in its settings become float16."""
    target.mkdir(parents=True)
    for file in sorted(source.glob("*")):
        if file.is_file() and file.name != WEIGHTS:
            shutil.copyfile(file, target / file.name)
    halve(source / WEIGHTS, target / WEIGHTS)
    settings = read_json(target / "config.json")
    for part in (settings, *settings.values()):
        if isinstance(part, dict) and "dtype" in part:
            part["dtype"] = "float16"
    write_json(target / "config.json", settings)


def halve_adapter(source: Path, target: Path) -> None:
    """Copy an adapter's settings, and its weights as float16."""
    target.mkdir(parents=True)
    settings, weights = ADAPTER
    halve(source / weights, target / weights)
    with reading(source / settings):
        shutil.copyfile(source / settings, target / settings)


def halve(source: Path, target: Path) -> None:
    """Copy a file of tensors as float16, which must hold their values."""
    file = open_tensors(source)
    tensors = {name: file.read(name) for name in file.specs}
    file.close()
    save_file(in_half(tensors, source), target, metadata={"format": "pt"})


def in_half(tensors: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Return tensors as float16, which must hold their values; `source` is for the error."""
    halves = {}
    for name, tensor in tensors.items():
        halves[name] = tensor.half()
        if not halves[name].isfinite().all():
            raise MergeError(
                f"values reach {float(tensor.abs().max()):.3g}, and float16 ends at 65504",
                where=f"{source}  {name}",
                hint="the training failed; this benchmark's weights are far below",
            )
    return halves


def find_files(folder: Path) -> dict[str, Path]:
    """Return all files but the manifest, however deep, by their paths from the folder."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: path for name, path in sorted(files.items()) if name != MANIFEST and path.is_file()
    }


def fingerprints(items: int = 3) -> dict[str, str]:
    """Return SHA-256 of the vocabulary, and of each task's first prompts and images per split."""
    hashes = {"words": hashlib.sha256("\n".join(vocabulary()).encode()).hexdigest()}
    for name, task in TASKS.items():
        digest = hashlib.sha256()
        for item in (item for split in SPLITS for item in task.items(split, items)):
            text = repr((item.kind, item.prompt, item.answer, item.references, item.image.shape))
            digest.update(text.encode() + item.image.tobytes())
        hashes[name] = digest.hexdigest()
    return hashes


# --- Reading --------------------------------------------------------------------------------------


def verify(folder: Path) -> Artifact:
    """Check every file of an artifact, and that the world is still the one it was trained on."""
    manifest = read_manifest(folder / MANIFEST)
    check_files(folder, manifest)
    for name, fingerprint in fingerprints().items():
        check_same(
            f"the world has changed since the artifact was trained: {name}",
            (f"{folder / MANIFEST}", manifest["world"].get(name, "nothing")),
            ("this version of robustmerge", fingerprint),
            hint="use the version that the manifest names, or train again",
        )
    return Artifact(folder, manifest)


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Check that a folder has the files of its manifest, unchanged, and no others."""
    present = find_files(folder)
    if missing := [name for name in manifest["files"] if name not in present]:
        raise MergeError(
            "files of the manifest are missing in the artifact",
            where=f"{folder}  {few(missing)}",
            hint="download the folder again",
        )
    if extra := [name for name in present if name not in manifest["files"]]:
        raise MergeError(
            "the artifact has files that its manifest does not name",
            where=f"{folder}  {few(extra)}",
            hint="remove them",
        )
    for name, path in present.items():
        check_same(
            "a file of the artifact has changed",
            (f"{folder / MANIFEST}", manifest["files"][name]["sha256"]),
            (f"{path}", sha256(path)),
            hint="download the folder again",
        )


def check_same(problem: str, recorded: tuple[str, str], actual: tuple[str, str], hint: str) -> None:
    """Compare two hashes, each with its source."""
    if recorded[1] != actual[1]:
        where = "\n".join(f"{source}  sha256 {value}" for source, value in (recorded, actual))
        raise MergeError(problem, where=where, hint=hint)


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest."""
    manifest = read_json(path, if_missing="download the folder again")
    try:
        fits = manifest["format"] == FORMAT and bool(manifest["experts"] and manifest["world"])
        complete = all(len(file["sha256"]) == 64 for file in manifest["files"].values())
    except (KeyError, TypeError, AttributeError) as error:
        raise MergeError(
            f"the manifest cannot be read: {type(error).__name__} {shown(str(error))}",
            where=str(path),
            hint="download the folder again",
        ) from None
    if not (fits and complete):
        raise MergeError(
            "the manifest is of a kind that this version does not know",
            where=str(path),
            hint=f"format {FORMAT} is known; use the version that wrote it",
        )
    return manifest
