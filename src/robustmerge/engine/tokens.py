"""Rows of the vocabulary in a merge: compared by their tokens, united, carried on with the result.

A row that holds another token in another adapter is not averaged. A token that only some adapters
added has their rows in the result; the tokenizer with the tokens of all goes into its folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from ..adapter.promises import ROWS, is_rows, token_rows
from ..adapter.reader import Adapter
from ..adapter.tokenizer import changes_vocabulary, read_added, read_tokens, write_tokenizer
from ..errors import MergeError, few

VOCABULARY = ("embed_tokens.weight", "lm_head.weight")
"""Ends of the names of parameters with one row for each token."""


@dataclass(frozen=True)
class TokensPlan:
    """What the rows of a merge mean.

    Attributes:
        owners: Rows whose token only some adapters have, and the positions of those.
        source: The folder of the tokenizer that the result gets, None where it gets none.
        more: Added tokens that this tokenizer has not, by row.
        unknown: Adapters with rows of their own whose folder has no tokenizer.
    """

    owners: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    source: Path | None = None
    more: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write the tokenizer into the result's folder, where there is one."""
        if self.source is not None:
            write_tokenizer(self.source, folder, self.more)

    def warnings(self) -> tuple[str, ...]:
        """Say for which adapters the meaning of rows is taken on trust."""
        if not self.unknown:
            return ()
        return (
            f"{few(self.unknown)}: rows of the vocabulary were trained, and the folder has no "
            "tokenizer; that they are the same tokens as in the other adapters is not checked",
        )


def plan_tokens(adapters: Sequence[Adapter]) -> TokensPlan:
    """Compare the tokenizers of adapters that change the vocabulary.

    Raises:
        MergeError: a row is another token in another adapter.
    """
    if not any(_touches(adapter) for adapter in adapters):
        return TokensPlan()
    tables = [read_tokens(adapter.folder) for adapter in adapters]
    for i, j in combinations(range(len(adapters)), 2):
        _check_rows((adapters[i], adapters[j]), (tables[i], tables[j]))
    has_rows = [_has_rows(adapter) for adapter in adapters]
    unknown = tuple(
        a.label
        for a, table, rows in zip(adapters, tables, has_rows, strict=True)
        if not table and rows and len(adapters) > 1
    )
    known = [n for n, table in enumerate(tables) if table]
    if not known:
        return TokensPlan(unknown=unknown)
    added = {n: read_added(adapters[n].folder) for n in known}
    first = max(known, key=lambda n: (len(tables[n]), -n))
    every = {row: entry for n in known for row, entry in added[n].items()}
    owners = {
        row: tuple(n for n in known if row in tables[n])
        for row in sorted(every)
        if len(known) == len(adapters) and any(row not in tables[n] for n in known)
    }
    more = {row: entry for row, entry in sorted(every.items()) if row not in tables[first]}
    return TokensPlan(owners, adapters[first].folder, more, unknown)


def united_rows(adapters: Sequence[Adapter]) -> list[int] | dict[str, list[int]] | None:
    """Return the rows that some adapter trains, as settings have them; None where none does."""
    settings = [adapter.config.raw.get(ROWS) or None for adapter in adapters]
    if all(value == settings[0] for value in settings):
        return settings[0]
    if not any(isinstance(value, dict) for value in settings):
        return _united(adapters, "embed_tokens")
    names = dict.fromkeys(name for value in settings if isinstance(value, dict) for name in value)
    return {name: _united(adapters, name) for name in (names or {}) | {"embed_tokens": None}}


def _united(adapters: Sequence[Adapter], module: str) -> list[int]:
    return list(dict.fromkeys(row for a in adapters for row in token_rows(a.config, module)))


def _touches(adapter: Adapter) -> bool:
    return changes_vocabulary((*adapter.modules, *adapter.extras))


def _has_rows(adapter: Adapter) -> bool:
    return any(is_rows(name) for name in adapter.extras)


def _check_rows(
    pair: tuple[Adapter, Adapter], tables: tuple[Mapping[int, str], Mapping[int, str]]
) -> None:
    first, second = tables
    differ = [row for row in first.keys() & second.keys() if first[row] != second[row]]
    if not differ:
        return
    rows = sorted(differ)
    texts = [f"row {row} is {first[row]!r} and {second[row]!r}" for row in rows[:3]]
    raise MergeError(
        f"{len(rows)} rows of the vocabulary are other tokens in the other adapter: "
        + "; ".join(texts),
        where=f"{pair[0].label}\n{pair[1].label}",
        hint="tokens of their own need rows of their own: give one adapter other rows; or merge "
        "without the vocabulary: --leave-out '*embed_tokens*' --leave-out '*lm_head*'",
    )
