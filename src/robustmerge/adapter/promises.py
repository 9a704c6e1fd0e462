"""What an adapter's settings promise and what its files hold, compared both ways.

PEFT loads a fully trained module whose tensors are missing with a KeyError at best, and rows of
embeddings that no setting names not at all. A merge of such an adapter would have lost something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..errors import MergeError, few
from .config import AdapterConfig
from .keys import Key, Part

ROWS = "trainable_token_indices"
"""The setting that names single rows of embeddings."""
_HEADS = frozenset({"classifier", "score"})
"""PEFT names both for a classifier, and a model has one of them."""
Shape = tuple[int, ...]
_AGAIN = "the folder is incomplete: save or fetch the adapter again"


def check_promises(config: AdapterConfig, held: Mapping[Key, Shape]) -> None:
    """Check that every promised module and row is there, and that rows belong to a setting.

    Args:
        config: The adapter's settings.
        held: Shapes of its tensors, by the parts of their names.

    Raises:
        MergeError: something is promised and missing, or the other way round.
    """
    modules = {key.module for key in held if key.part in (Part.FULL, Part.TOKENS, Part.BASE)}
    _check_modules(config, modules)
    _check_rows(
        config, {key.module: shape for key, shape in held.items() if key.part is Part.TOKENS}
    )


def check_alone(adapted: Collection[str], whole: Mapping[str, object]) -> None:
    """Check that no fully trained parameter of the weights' file stands in a module with LoRA.

    PEFT would take the module for one of `modules_to_save`, and lose its LoRA; other trainers keep
    scalings there. A whole weight is left to the rules for two ways of training.

    Args:
        adapted: Canonical names of modules with LoRA.
        whole: Fully trained parameters of that file by canonical name, with their tensors.

    Raises:
        MergeError: one does.
    """
    for name, tensor in whole.items():
        module, _, leaf = name.rpartition(".")
        if module in adapted and leaf not in ("weight", Part.MAGNITUDE.value):
            raise MergeError(
                f"{leaf} next to the LoRA factors of {module}, where no program loads it",
                where=str(tensor),
                hint=f"merging with --leave-out '*.{leaf}' does without it; if it is a scaling, "
                "write it into the settings as lora_alpha or alpha_pattern",
            )


def token_rows(config: AdapterConfig, module: str) -> list[int]:
    """Return the rows of a module's embeddings that were trained, none where no setting says so.

    Raises:
        MergeError: the setting is neither a list of rows nor a table of such lists, or has a row
            twice.
    """
    rows: Any = config.raw.get(ROWS) or []
    if isinstance(rows, dict):
        entries = (value for name, value in rows.items() if _ends(module, name))
        rows = next(entries, [])
    elif module.rpartition(".")[2] == "lm_head":  # a bare list is about the embeddings
        rows = []
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise MergeError(
            f"{ROWS} = {config.raw[ROWS]!r:.80} is not a list of rows",
            where=str(config.path),
            hint="fix the file",
        )
    twice = [row for row, count in Counter(rows).items() if count > 1]
    if twice:
        raise MergeError(
            f"{ROWS} lists row {twice[0]} twice, with values of its own each time",
            where=str(config.path),
            hint="the trainer wrote into one of the two; list every row once, with that value",
        )
    return rows


def is_rows(name: str) -> bool:
    """Decide whether an adapter's parameter is a set of single rows, by its name."""
    return name.endswith(".token_adapter.trainable_tokens_delta")


def _is_row(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_modules(config: AdapterConfig, modules: Collection[str]) -> None:
    listed = config.names("modules_to_save")
    held = {name for module in modules for name in _parents(module)}
    missing = [e for e in listed if not any(name.endswith(e) for name in held)]
    classifies = str(config.raw.get("task_type")) in ("SEQ_CLS", "TOKEN_CLS")
    if classifies and not set(listed) & _HEADS <= set(missing):
        missing = [e for e in missing if e not in _HEADS]
    if missing:
        raise MergeError(
            f"modules_to_save names {few(missing)}, of which no tensor is in the folder",
            where=str(config.path),
            hint=f"{_AGAIN}; or, if the model has no such module, take it out of modules_to_save",
        )


def _check_rows(config: AdapterConfig, held: Mapping[str, Shape]) -> None:
    if config.raw.get(ROWS) and not held:
        raise MergeError(
            f"{ROWS} is set, and no rows of embeddings are in the folder",
            where=str(config.path),
            hint=_AGAIN,
        )
    for module, shape in held.items():
        rows = token_rows(config, module) or token_rows(config, "embed_tokens")
        if len(rows) != (shape[0] if shape else 0):
            raise MergeError(
                f"{module} has {shape[0] if shape else 0} trained rows in its tensor and "
                f"{len(rows)} in {ROWS}",
                where=str(config.path),
                hint="the settings belong to another adapter; find the right file",
            )


def _parents(module: str) -> Iterator[str]:
    """Yield a module and all modules that it lies in."""
    parts = module.split(".")
    yield from (".".join(parts[:n]) for n in range(1, len(parts) + 1))


def _ends(module: str, entry: str) -> bool:
    return module == entry or module.endswith(f".{entry}")
