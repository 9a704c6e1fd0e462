"""The tokenizer in an adapter's folder: which token each row of the vocabulary is.

tokenizer.json           `model.vocab` and `added_tokens`
tokenizer_config.json    `added_tokens_decoder`
added_tokens.json        added tokens of slow tokenizers; vocab.json has the others
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..files import read_json, write_json

FAST, SETTINGS, ADDED, SLOW = (
    *("tokenizer.json", "tokenizer_config.json"),
    *("added_tokens.json", "vocab.json"),
)
FILES = (
    *(FAST, SETTINGS, ADDED, SLOW, "special_tokens_map.json", "merges.txt", "vocab.txt"),
    *("tokenizer.model", "sentencepiece.bpe.model", "spiece.model", "chat_template.jinja"),
)
"""What `save_pretrained` of a tokenizer writes, of any kind."""

_MODULES = ("embed_tokens", "lm_head")


def read_tokens(folder: Path) -> dict[int, str]:
    """Return the tokens of a folder's tokenizer by row; empty where it has none.

    Raises:
        MergeError: a file is not JSON.
    """
    tokens: dict[int, str] = {}
    if (folder / SLOW).is_file():
        tokens |= _by_row(read_json(folder / SLOW))
    if (folder / FAST).is_file():
        model = read_json(folder / FAST).get("model")
        vocabulary: Any = model.get("vocab") if isinstance(model, dict) else None
        if isinstance(vocabulary, dict):
            tokens |= _by_row(vocabulary)
        elif isinstance(vocabulary, list):  # a unigram model: tokens with their scores
            tokens |= {n: str(v[0]) for n, v in enumerate(vocabulary) if isinstance(v, list) and v}
    return tokens | {row: str(entry["content"]) for row, entry in read_added(folder).items()}


def read_added(folder: Path) -> dict[int, dict[str, Any]]:
    """Return the added tokens by row, each as tokenizer.json has it where it does."""
    added: dict[int, dict[str, Any]] = {}
    if (folder / ADDED).is_file():
        table = _by_row(read_json(folder / ADDED))
        added |= {row: {"id": row, "content": content} for row, content in table.items()}
    if (folder / SETTINGS).is_file():
        decoder = read_json(folder / SETTINGS).get("added_tokens_decoder")
        for row, entry in decoder.items() if isinstance(decoder, dict) else ():
            if str(row).isdecimal() and isinstance(entry, dict) and "content" in entry:
                added[int(row)] = {"id": int(row), **entry}
    if (folder / FAST).is_file():
        entries = read_json(folder / FAST).get("added_tokens")
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("id"), int) and "content" in entry:
                added[entry["id"]] = entry
    return added


def tokenizer_files(folder: Path) -> list[Path]:
    """Return the tokenizer's files in a folder."""
    return [folder / name for name in FILES if (folder / name).is_file()]


def changes_vocabulary(names: Iterable[str]) -> bool:
    """Return whether a parameter of these names has one row for each token."""
    return any(part in name.split(".") for name in names for part in _MODULES)


def write_tokenizer(source: Path, target: Path, more: Mapping[int, Mapping[str, Any]]) -> None:
    """Copy a folder's tokenizer, with further added tokens.

    Args:
        source: The folder with the tokenizer.
        target: The folder to write into.
        more: Added tokens that it has not, by row.
    """
    for path in tokenizer_files(source):
        shutil.copyfile(path, target / path.name)
    if not more:
        return
    if (target / FAST).is_file():
        content = read_json(target / FAST)
        entries = [*content.get("added_tokens", []), *(_whole(e) for e in more.values())]
        content["added_tokens"] = sorted(entries, key=lambda entry: int(entry["id"]))
        write_json(target / FAST, content)
    if (target / SETTINGS).is_file():
        content = read_json(target / SETTINGS)
        decoder = content.setdefault("added_tokens_decoder", {})
        for row, entry in more.items():
            decoder[str(row)] = {k: v for k, v in _whole(entry).items() if k != "id"}
        write_json(target / SETTINGS, content)
    if (target / ADDED).is_file():
        content = read_json(target / ADDED)
        write_json(target / ADDED, content | {str(e["content"]): r for r, e in more.items()})


def _whole(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with every field that tokenizer.json needs."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    return {**flags, "normalized": False, "special": True, **entry}


def _by_row(table: Mapping[str, Any]) -> dict[int, str]:
    return {row: token for token, row in table.items() if isinstance(row, int)}
