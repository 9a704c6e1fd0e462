"""The files of an adapter folder that hold trained tensors: each is read, or named in a refusal.

    adapter_model.safetensors, .bin       LoRA factors and modules_to_save; in shards with an index
    non_lora_trainables.bin, …            fully trained parameters, as several trainers save them
    optimizer.pt, rng_state.pth, …        the state of a training run, which is no result of it

A tensor that is left out is a merge that lost something, so that a file of another name is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import MergeError, few, reading
from ..files import read_json, sha256
from .tensors import TensorFile, open_tensors

NON_LORA = "non_lora_trainables.bin"
"""The file that the original LLaVA code puts fully trained parameters into."""

BESIDE = "non_lora.safetensors"
"""The file that a merge puts them into under `--extras-in beside`."""

FULLY_TRAINED = (NON_LORA, "non_lora_state_dict.bin", "mm_projector.bin", BESIDE)
"""Files of fully trained parameters: LLaVA's, that of Qwen-VL's fine-tuning scripts (github.com/
2U1/Qwen-VL-Series-Finetune), that of LLaVA's projector, and ours."""

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
INDEXES = tuple(f"{name}.index.json" for name in WEIGHTS)
"""The names of the weights' file, and of the index of their shards."""
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".npz", ".h5", ".msgpack")
_RUN_STATE = re.compile(
    r"(\w*optim\w*|\w*scheduler\w*|rng_state\w*|random_states\w*|scaler\w*|sampler\w*|dl_state\w*|"
    r"dataloader\w*|train(ing|er)_(args|state)\w*)\.\w+"
)
_PART = re.compile(r"projector|connector|merger|visual|vision|embed|head", re.IGNORECASE)
"""Names of subfolders in which trainers put a trained part, as VILA does; others hold checkpoints,
logs and other results."""
_SHARD = re.compile(r"adapter_model-\d+-of-\d+\.(safetensors|bin)")
_EMBEDDED = ("export.json", re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)"))
"""A folder that `export --format embedded` wrote has the base's weights in it, too."""

_KNOWN = {
    "new_embeddings.safetensors": "vLLM's rows for new tokens. Give the base these tokens with "
    "resize_token_embeddings, train its embeddings by modules_to_save, and save that"
}


@dataclass(frozen=True)
class AdapterFiles:
    """The tensor files of one adapter.

    Attributes:
        weights: The adapter's own file, or its shards.
        trained: Files of fully trained parameters that trainers write.
        beside: The file of a merge with `--extras-in beside`, none or one.
    """

    weights: tuple[Path, ...]
    trained: tuple[Path, ...]
    beside: tuple[Path, ...]

    @classmethod
    def find(cls, folder: Path, label: str) -> AdapterFiles:
        """List the tensor files of a folder, of which none is opened.

        Raises:
            MergeError: there are no weights, or a file of tensors that no rule knows.
        """
        weights = weight_files(folder, label)
        own = {path.name for path in weights}
        with reading(folder):
            names = [path.name for path in folder.iterdir() if path.is_file()]
            names += _names_in_parts(folder)
        check_names(label, names, own)
        present = [folder / name for name in FULLY_TRAINED if (folder / name).is_file()]
        beside = tuple(path for path in present if path.name == BESIDE)
        return cls(weights, tuple(path for path in present if path not in beside), beside)

    @property
    def own(self) -> tuple[Path, ...]:
        """All but the file of a merge, whose parameters no runtime looks for."""
        return (*self.weights, *self.trained)

    def open(self) -> tuple[list[TensorFile], list[TensorFile]]:
        """Open them all: the adapter's own, and the file of a merge.

        Raises:
            MergeError: a file is damaged, or the two weights' files differ.
        """
        own, beside = [open_tensors(p) for p in self.own], [open_tensors(p) for p in self.beside]
        _check_twin(own[0], self.weights)
        _check_shards(own[: len(self.weights)])
        return own, beside


def has_weights(folder: Path) -> bool:
    """Decide whether a folder has an adapter's weights, or the index of their shards."""
    return any((folder / name).is_file() for name in (*WEIGHTS, *INDEXES))


def weight_files(folder: Path, label: str) -> tuple[Path, ...]:
    """Find the file of an adapter folder that holds its factors, or its shards.

    Raises:
        MergeError: the folder has none, or shards are missing.
    """
    for name, index in zip(WEIGHTS, INDEXES, strict=True):
        if (folder / name).is_file():
            return (folder / name,)
        if (folder / index).is_file():
            return tuple(folder / shard for shard in read_index(folder / index))
    raise MergeError(
        "no adapter_model.safetensors or adapter_model.bin",
        where=label,
        hint="an adapter folder is what PEFT's save_pretrained writes",
    )


def read_index(path: Path) -> list[str]:
    """Return the shards that an index names, which must lie in its folder.

    Raises:
        MergeError: the index names none, one elsewhere, or one that is missing.
    """
    table = read_json(path).get("weight_map")
    names = sorted({str(n) for n in table.values()}) if isinstance(table, dict) else []
    odd = [n for n in names if not _SHARD.fullmatch(n)]
    missing = [n for n in names if n not in odd and not (path.parent / n).is_file()]
    if not names or odd or missing:
        what = few(odd or missing)
        raise MergeError(
            f"the index names {what}, which {'is no shard' if odd else 'is missing'}"
            if names
            else "the index has no weight_map",
            where=str(path),
            hint="copy or fetch all shards of the adapter into this folder",
        )
    return names


def check_names(label: str, names: Iterable[str], shards: Collection[str] | None = None) -> None:
    """Check that every file of tensors in an adapter's folder is one that is read.

    Args:
        label: What the user called the adapter.
        names: Names of the files of its folder.
        shards: The shards that are read; of a folder elsewhere it is not known.

    Raises:
        MergeError: one is not, and is not the state of a training run.
    """
    names = list(names)
    unread = shards is not None and {n for n in names if _SHARD.fullmatch(n)}.difference(shards)
    unknown = sorted(n for n in names if _is_unknown(n, names) or (unread and n in unread))
    if unknown:
        why = next((_KNOWN[n] for n in unknown if n in _KNOWN), "")
        raise MergeError(
            f"{few(unknown)} may hold trained tensors, and nothing here reads "
            f"{'it' if len(unknown) == 1 else 'them'}",
            where=label,
            hint=(f"{unknown[0]} is {why}; or " if why else "")
            + f"if the merge may do without, give a copy of the folder without {few(unknown)} "
            "(`hf download REPOSITORY --include 'adapter_*' --local-dir COPY` makes one of the "
            f"Hub's); fully trained parameters are read from {FULLY_TRAINED[0]}",
        )


def hash_weights(files: Sequence[Path]) -> str:
    """Return the SHA-256 of an adapter's weights; of shards, that of their hashes."""
    if len(files) == 1:
        return sha256(files[0])
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()


def _names_in_parts(folder: Path) -> list[str]:
    """List the files of subfolders that are named like a part of a model and are no adapter."""
    parts = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    return [
        f"{part.name}/{path.name}"
        for part in parts
        if _PART.search(part.name) and not (part / "adapter_config.json").exists()
        for path in sorted(part.iterdir())
        if path.is_file()
    ]


def _is_unknown(name: str, names: Sequence[str]) -> bool:
    if PurePosixPath(name).suffix.lower() not in _SUFFIXES or name.startswith("."):
        return False
    if name in (*WEIGHTS, *FULLY_TRAINED) or _SHARD.fullmatch(name) or _RUN_STATE.fullmatch(name):
        return False
    record, weights = _EMBEDDED
    return not (record in names and weights.fullmatch(name))


def _check_shards(shards: Sequence[TensorFile]) -> None:
    """Check that every tensor that an index names is in its shard."""
    path = shards[0].path.parent / INDEXES[WEIGHTS.index(f"adapter_model{shards[0].path.suffix}")]
    if not _SHARD.fullmatch(shards[0].path.name):
        return
    held = {name for shard in shards for name in shard.specs}
    missing = sorted(set(read_json(path)["weight_map"]) - held)
    if missing:
        raise MergeError(
            f"the index names {len(missing)} tensors that no shard has: {few(missing, 2)}",
            where=str(path),
            hint="a shard is of another save: copy or fetch all of them and the index again",
        )


def _check_twin(opened: TensorFile, weights: Sequence[Path]) -> None:
    """Check that weights saved as safetensors and as a pickle are the same tensors, by headers."""
    twin = weights[0].with_suffix(".bin")
    if weights[0].name != WEIGHTS[0] or not twin.is_file():
        return
    other = open_tensors(twin)
    differ = sorted(
        name
        for name in {*opened.specs, *other.specs}
        if opened.specs.get(name) != other.specs.get(name)
    )
    other.close()
    if differ:
        raise MergeError(
            f"{WEIGHTS[0]} and {WEIGHTS[1]} hold different tensors: {few(differ)}",
            where=f"{weights[0]}\n{twin}",
            hint="PEFT reads the first; give a folder that has one of them",
        )
