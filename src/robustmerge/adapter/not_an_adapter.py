"""Answer for a folder that is no adapter, from what is in it."""

from __future__ import annotations

from pathlib import Path

from ..errors import MergeError, few, reading
from .config import FILE
from .header import read_header
from .tensor_files import INDEXES, WEIGHTS

_TENSORS = (".safetensors", ".bin", ".pt", ".pth")
_MODEL = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
_PARTS = (*_TENSORS, ".json", ".model", ".txt", ".jinja")
"""Endings of tensors, settings and tokenizers, of which a link that leads nowhere is a loss."""
_CACHE = "snapshots"
_OPTIMIZER = ("optimizer", "scheduler", "rng_state", "training_args", "scaler")


def explain(folder: Path, label: str) -> MergeError | None:
    """Return the error for a folder without settings or weights, None where it has both."""
    with reading(folder):
        paths = sorted(folder.iterdir())
        names, broken = [path.name for path in paths], [p for p in paths if _is_broken(p)]
        runs = sorted((p.parent.name for p in folder.glob(f"*/{FILE}")), key=_by_number)
    has_settings, weights = FILE in names, [name for name in (*WEIGHTS, *INDEXES) if name in names]
    if "export.json" in names:  # links to the base's files, which may be gone
        broken = [path for path in broken if path.name.startswith("adapter_")]
    if broken:
        return no_regular_files(broken, label)
    if has_settings and weights:
        return None
    missing = f"no {FILE}" if not has_settings else f"no {' or '.join(WEIGHTS)}"
    if not names:
        problem, hint = "the folder is empty", "check the path, and whether a download stopped"
    elif revisions := sorted(folder.glob(f"{_CACHE}/*/{FILE}")):
        problem = f"{missing}: a folder of the Hub's cache, which has its revisions in {_CACHE}"
        hint = f"name one of them: {Path(label, _CACHE, _current(folder, revisions))}"
    elif runs and any(_by_number(name)[0] >= 0 for name in runs):
        problem = f"{missing}: a run's folder, with adapters in {few(runs, 4)}"
        hint = f"name one of them, such as the last: {Path(label) / runs[-1]}"
    elif runs:
        problem = f"{missing}: a folder with adapters in {few(runs, 4)}"
        hint = f"name them: {' '.join(str(Path(label) / name) for name in runs[:8])}"
    elif not has_settings and any(name in names for name in _MODEL):
        problem = f"{missing}: the folder holds a whole model"
        hint = "an adapter is a change of a model: name the whole model with --base"
    elif tensors := [name for name in names if _holds_tensors(name)]:
        return _of_tensors(folder, missing, tensors, has_settings=has_settings)
    else:
        problem = f"{missing}: the folder holds {few(names, 4)}"
        hint = "an adapter folder is what PEFT's save_pretrained writes"
    return MergeError(problem, where=str(folder), hint=hint)


def _is_broken(path: Path) -> bool:
    """Decide whether what may be a part of an adapter is a link to nothing, a pipe or a device."""
    return path.suffix.lower() in _PARTS and not (path.is_file() or path.is_dir())


def no_regular_files(broken: list[Path], label: str) -> MergeError:
    """Make the error for parts of a folder that are links to nothing, pipes or devices."""
    gone = [path for path in broken if path.is_symlink() and not path.exists()]
    names = few([path.name for path in gone or broken])
    what = f"a link to a file that is gone, {gone[0].readlink()}" if gone else "no regular file"
    return MergeError(
        f"{names}: {what}",
        where=label,
        hint="`hf download REPOSITORY --local-dir COPY` fetches it again; or give a copy of the "
        "folder in which all files are files",
    )


def _current(folder: Path, revisions: list[Path]) -> str:
    """Return the revision that the cache takes for the newest, or any."""
    names = [path.parent.name for path in revisions]
    main = folder / "refs" / "main"
    newest = main.read_text().strip() if main.is_file() else ""
    return newest if newest in names else names[-1]


def _of_tensors(
    folder: Path, missing: str, tensors: list[str], *, has_settings: bool
) -> MergeError:
    """Answer where only settings are missing, or weights have another name."""
    if has_settings:
        suffix = Path(tensors[0]).suffix
        name = WEIGHTS[0] if suffix == ".safetensors" else WEIGHTS[1]
        hint = f"if {tensors[0]} holds the adapter, rename it to {name}"
    elif (folder.parent / FILE).is_file():
        hint = f"if {folder.parent / FILE} belongs to these weights, copy it next to them"
    else:
        rank = _rank(folder / tensors[0])
        hint = (
            f'write one: {{"peft_type": "LORA", "r": {rank or "RANK"}, "lora_alpha": ALPHA, '
            '"target_modules": ["q_proj", …]}; the script of the training run has the alpha'
        )
    return MergeError(f"{missing} next to {few(tensors, 3)}", where=str(folder), hint=hint)


def _rank(path: Path) -> int | None:
    """Read the rank from the shapes of A; None where the header does not show one."""
    if path.suffix != ".safetensors":
        return None
    try:
        with path.open("rb") as file:
            entries = read_header(file, path)
    except (MergeError, OSError):
        return None
    shapes = [entry.shape for name, entry in entries.items() if ".lora_A" in name]
    ranks = {shape[0] for shape in shapes if len(shape) > 1}
    return ranks.pop() if len(ranks) == 1 else None


def _holds_tensors(name: str) -> bool:
    return name.endswith(_TENSORS) and not name.startswith(_OPTIMIZER)


def _by_number(name: str) -> tuple[int, str]:
    """Sort checkpoint-1000 after checkpoint-200."""
    digits = name.rpartition("-")[2]
    return (int(digits) if digits.isdecimal() and len(digits) < 10 else -1, name)
